"""The commands `meshloom ladder coordinate` and `meshloom ladder transfer`. Imports no jax."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from annotated_types import Interval

from data.errors import UserError
from data.fields import Layers, Size
from launch.config import RunConfig
from launch.presets.preset import preset as preset_of
from launch.process import runtime

Preset = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
Rate = Annotated[float, Interval(ge=1e-30, le=1e3)]
Seeds = Annotated[int, Interval(ge=1, le=1000)]
Steps = Annotated[int, Interval(ge=1, le=10**6)]
Widths = Annotated[tuple[Size, ...], tyro.conf.arg(metavar="WIDTH ...")]
WIDTHS = (64, 128, 256, 512)


def coordinate(
    preset: Preset = "tiny",
    widths: Widths = WIDTHS,
    layers: Layers = 2,
    length: Size = 64,
    batch_size: Size = 8,
    steps: Steps = 4,
    rate: Rate = 3e-3,
    seeds: Seeds = 2,
    out: Path = Path(),
) -> int:
    """Check that activations keep their size from width to width under muP; exits with 1 if not.

    Args:
        preset: The model and its text; under muP, the base.
        widths: Widths to compare, of heads as wide as the preset's.
        layers: Blocks of each model.
        length: Tokens in a row.
        batch_size: Rows in a step.
        steps: Steps after which activations are compared.
        rate: Learning rate.
        seeds: Initial weights to average over.
        out: Directory for the picture, as PNG and SVG.
    """
    base = _small(preset, layers, length, batch_size, steps, schedule="constant", warmup_steps=0)
    _require_several(widths)
    out.mkdir(parents=True, exist_ok=True)
    import jax

    from launch.ladder.coordinate import check, draw, verdict

    with jax.set_mesh(runtime.start(base.mesh, base.distributed, cache_dir=base.data.cache_dir)):
        checked = check(base, widths, rate, seeds, _progress)
    print(verdict(checked))
    draw(checked, out)
    return 0 if checked[-1].flat else 1


def transfer(
    preset: Preset = "tiny",
    widths: Widths = WIDTHS,
    lowest: Rate = 2**-12,
    octaves: Annotated[int, Interval(ge=2, le=40)] = 7,
    layers: Layers = 2,
    length: Size = 64,
    batch_size: Size = 4,
    steps: Steps = 80,
    seeds: Seeds = 2,
    out: Path = Path(),
) -> int:
    """Check that the best learning rate of a narrow model is that of a wide one under muP; exits
    with 1 if not.

    Args:
        preset: The model and its text; under muP, the base.
        widths: Widths to compare, of heads as wide as the preset's.
        lowest: Lowest peak learning rate; each of the others is twice the one before.
        octaves: How often it is doubled.
        layers: Blocks of each model.
        length: Tokens in a row.
        batch_size: Rows in a step.
        steps: Length of a run, a fifth of it warm-up, in the preset's schedule.
        seeds: Runs of each rate, whose losses are averaged.
        out: Directory for the picture, as PNG and SVG.
    """
    base = _small(preset, layers, length, batch_size, steps)
    _require_several(widths)
    out.mkdir(parents=True, exist_ok=True)
    import jax

    from launch.ladder.transfer import by_kind, check, draw, moved, verdict

    rates = [lowest * 2**octave for octave in range(octaves + 1)]
    with jax.set_mesh(runtime.start(base.mesh, base.distributed, cache_dir=base.data.cache_dir)):
        curves = check(base, widths, rates, seeds, _progress)
    print(verdict(curves))
    draw(curves, out)
    far = moved(by_kind(curves)[-1])
    return 0 if far is not None and abs(far) < 1 else 1


def _small(
    preset: str, layers: int, length: int, batch_size: int, steps: int, **optimizer: Any
) -> RunConfig:
    """The preset cut down to runs of seconds, with a fifth of the steps to warm up in."""
    run = preset_of(preset)
    optimizer = {"warmup_steps": steps // 5, **optimizer}
    return dataclasses.replace(
        run,
        model=run.model.with_depth(layers).with_length(length),
        data=dataclasses.replace(run.data, sequence_length=length),
        train=dataclasses.replace(
            run.train,
            steps=steps,
            batch_size=batch_size,
            optimizer=dataclasses.replace(run.train.optimizer, **optimizer),
        ),
    )


def _require_several(widths: tuple[int, ...]) -> None:
    if len(set(widths)) < 2 or list(widths) != sorted(widths):
        raise UserError(
            f"widths={' '.join(map(str, widths))} must be at least two, the narrowest first, "
            "because what changes from one to the next is looked at; try --widths 64 128 256"
        )


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
