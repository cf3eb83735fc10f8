"""The config of a run that begins with other weights than fresh ones: those of a pretrained
checkpoint, or of another run. Imports no jax."""

import dataclasses
from pathlib import Path
from typing import Any

from data.errors import UserError
from launch.config import RunConfig
from launch.pretrained import hub
from launch.run.directory import RunDirectory
from launch.run.saved import OpenedRun, is_pretrained, open_run

TOKENIZER = ("tokenizer", "begin_token", "end_token")
"""Fields of data that say what tokens mean."""


def adopt_source(spec: str, config: RunConfig | None) -> RunConfig:
    """The config with the architecture and the tokenizer of what it begins with; without one, that
    of the checkpoint's kind, or the other run's.

    Raises ValueError as `launch.pretrained.adopt.adopt`.
    """
    from launch.pretrained.adopt import OURS, adopt

    if is_pretrained(Path(spec)):
        return adopt(spec, config)
    run = open_trained(spec).config
    if config is None:
        return dataclasses.replace(run, start_from=spec)
    if config.model.kind != run.model.kind:
        raise UserError(
            f"start_from={spec} must be of the family {config.model.kind}, because the preset "
            f"{config.preset} trains that, but it is of {run.model.kind}; try another preset, or "
            "none"
        )
    asked: Any = config.model
    model: Any = run.model
    head = asked.head
    if head.kind == model.head.kind:
        outputs, temperature = head.outputs, head.temperature
        head = dataclasses.replace(model.head, outputs=outputs, temperature=temperature)
    own: Any = {name: getattr(asked, name) for name in OURS if hasattr(asked, name)}
    model = dataclasses.replace(model, **own, head=head)
    data: Any = config.data
    if hasattr(data, "tokenizer") and hasattr(run.data, "tokenizer"):
        places: Any = {name: getattr(run.data, name) for name in TOKENIZER}
        data = dataclasses.replace(data, **places)
    return dataclasses.replace(config, model=model, data=data, start_from=spec)


def open_trained(spec: str) -> OpenedRun:
    """The run in the directory of a spec; ValueError if there is none."""
    path = Path(spec).expanduser()
    if not RunDirectory.at(path).has_run():
        published = (path / "config.json").is_file()
        raise UserError(
            f"start_from={spec} must be a run directory, hf:DIRECTORY, hf:ORG/NAME or gguf:FILE, "
            "because weights are read from there, but it has no config.yaml of a run; try "
            + (f"hf:{spec}" if published else "the directory that `meshloom train` printed")
        )
    return open_run(path)


def as_before(spec: str | None, before: str | None) -> str | None:
    """What a run that goes on began with: a name of a hub means the commit that it did then."""
    if spec is None or before is None or not (spec.startswith("hf:") and before.startswith("hf:")):
        return spec
    return before if hub.is_same(spec.removeprefix("hf:"), before.removeprefix("hf:")) else spec
