"""The command `meshloom generate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from data.errors import UserError
from data.fields import Count, Seed, Whole
from launch.config import MeshConfig
from launch.run.saved import MovedTokenizer
from launch.schema.command_line import parse


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Let a run's checkpoint continue a prompt."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    prompt: str = ""
    """Text to continue; empty begins a document."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    tokens: Annotated[int, Interval(ge=1, le=10**6)] = 200
    """Tokens to write at most."""
    samples: Annotated[int, Interval(ge=1, le=10_000)] = 1
    """Continuations to write."""
    temperature: Annotated[float, Interval(ge=0, le=1e3)] = 0.8
    """Divides the logits; 0 takes the likeliest token each time."""
    top_k: Count | None = None
    """Draw only from this many likeliest tokens."""
    top_p: Annotated[float, Interval(ge=1e-6, le=1)] | None = None
    """Draw only from the likeliest tokens that together have this probability."""
    seed: Seed = 0
    """Seed of the drawing."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer is now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""

    def __post_init__(self) -> None:
        if 0 < self.temperature < 1e-6:
            raise UserError(
                f"temperature={self.temperature} must be 0 or at least 1e-06, because logits are "
                "divided by it and would overflow; try --temperature 0"
            )


def main(arguments: list[str]) -> None:
    """Print the prompt with each continuation."""
    options = parse(GenerateOptions, arguments, prog="meshloom generate")
    import jax

    from data.tokenizer import visible
    from launch.run.generate import generate

    texts = generate(
        options.run,
        [options.prompt] * options.samples,
        step=options.step,
        tokens=options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        data=options.data,
        mesh=options.mesh,
    )
    if jax.process_index() != 0:
        return
    for number, text in enumerate(texts, start=1):
        if options.samples > 1:
            print(f"--- {number} of {options.samples}")
        print(visible(options.prompt) + text)
