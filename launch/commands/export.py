"""The command `meshloom export`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from data.fields import Whole
from launch.config import MeshConfig
from launch.run.saved import MovedTokenizer
from launch.schema.command_line import UsageError, parse


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Write a run's checkpoint as others read it: as a folder of safetensors, config.json and
    tokenizer for `transformers` and vLLM, or as one GGUF file for llama.cpp."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory, or hf:DIRECTORY."""
    output: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Where to write: hf:DIRECTORY, a folder that does not exist or is empty, or gguf:FILE, a new
    file."""
    model_type: str | None = None
    """What the model is called there, as `llama`; by default the first kind that can say its
    architecture."""
    dtype: Literal["float32", "bfloat16", "float16", "q8_0"] = "float32"
    """Type of the weights; q8_0, blocks of 8 bits, is GGUF's alone. A number that it cannot hold is
    refused."""
    verify: bool = False
    """Compare the scores that `transformers`, which must be installed, computes from the folder
    with those of the model; if they differ, nothing is written."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer is now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""


def main(arguments: list[str]) -> None:
    """Write the folder, and say what is in it."""
    options = parse(ExportOptions, arguments, prog="meshloom export")
    kind, _, where = options.output.partition(":")
    if kind not in ("hf", "gguf") or not where:
        raise UsageError(
            f"meshloom export writes hf:DIRECTORY or gguf:FILE, not {options.output!r}; try "
            "hf:exported"
        )
    import jax

    from launch.run.export import export

    lines = export(
        options.run,
        options.output,
        model_type=options.model_type,
        dtype=options.dtype,
        verify=options.verify,
        step=options.step,
        data=options.data,
        mesh=options.mesh,
    )
    if jax.process_index() == 0:
        print("\n".join(lines))
