"""A run's config for a pretrained checkpoint: its architecture and tokenizer, and the rest of a
preset."""

import dataclasses
from pathlib import Path
from typing import Any

from data.errors import UserError
from launch.config import RunConfig
from launch.presets.preset import preset
from launch.pretrained.checkpoint import Pretrained, open_pretrained

BASES = {"decoder": "tiny", "encoder": "tiny-bert"}
"""The preset whose data and training a checkpoint has if none is named, by its family."""
OURS = ("dtype", "remat", "attention", "head")
"""Fields of a model that a preset decides."""


def adopt(spec: str, config: RunConfig | None) -> RunConfig:
    """The config with the architecture and the tokenizer of a checkpoint in place of its own, and
    its own head; of the checkpoint's family with its own head if there is no config.

    Raises ValueError as `open_pretrained`, and for a config of another family.
    """
    pretrained = open_pretrained(spec)
    model = pretrained.model
    if config is None:
        name = Path(spec.partition(":")[2]).resolve().name
        config = dataclasses.replace(preset(BASES[model.kind]), preset=name)
    elif config.model.kind != model.kind:
        raise UserError(
            f"start_from={spec} must be of the family {config.model.kind}, because the preset "
            f"{config.preset} trains that, but it is of {model.kind}; try another preset, or none"
        )
    else:
        own = {name: getattr(config.model, name) for name in OURS}
        model = dataclasses.replace(model, **own)
    data = _with_tokenizer(config.data, pretrained)
    return dataclasses.replace(config, model=model, data=data, start_from=spec)


def _with_tokenizer(data: Any, pretrained: Pretrained) -> Any:
    if pretrained.tokenizer is None or not hasattr(data, "tokenizer"):
        return data
    return dataclasses.replace(data, tokenizer=str(pretrained.tokenizer))
