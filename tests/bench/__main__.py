"""All CPU bars in one run, as JSON: `python -m tests.bench`."""

import json
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import jax
from annotated_types import Interval

from data.config import DataConfig
from launch.config import MeshConfig
from launch.process import runtime
from launch.process.mesh import make_mesh
from launch.process.progress import Progress
from launch.schema.command_line import run_module
from tests.bench import encoder, loop, rows, saving, startup, step
from tests.bench.baseline import BaselineSizes

Part = Literal["step", "encoder", "fit", "input", "saving", "startup"]
ALL: tuple[Part, ...] = ("step", "encoder", "fit", "input", "saving", "startup")
DEFAULT = BaselineSizes()


def main(
    sizes: BaselineSizes = DEFAULT,
    parts: tuple[Part, ...] = ALL,
    rounds: Annotated[int, Interval(ge=1, le=10_000)] = 9,
    steps: Annotated[int, Interval(ge=2, le=1_000_000)] = 16,
    compare: str | None = None,
) -> None:
    """Print what was measured: medians, and ratios of things that took turns.

    Args:
        sizes: The model and the batch.
        parts: What to measure.
        rounds: Rounds in which the compared things take turns.
        steps: Steps in one round of `fit`, at least 2.
        compare: Command that times the same step in another framework and prints JSON.
    """
    runtime.keep_freed_memory()
    with (
        tempfile.TemporaryDirectory() as folder,
        jax.set_mesh(make_mesh(MeshConfig())),
    ):
        print(json.dumps(measure(Path(folder), sizes, parts, rounds, steps, compare), indent=2))


def measure(
    folder: Path,
    sizes: BaselineSizes,
    parts: tuple[Part, ...],
    rounds: int,
    steps: int,
    compare: str | None,
) -> dict[str, object]:
    """The results by part, after the machine they hold for."""
    data = DataConfig(
        sources=("synthetic:4000000",),
        sequence_length=sizes.length,
        cache_dir=str(folder / "cache"),
    )
    measured = {
        "step": lambda: step.measure(sizes, rounds, compare),
        "encoder": lambda: encoder.measure(sizes, rounds),
        "fit": lambda: loop.measure(sizes, folder / "fit", rounds, steps),
        "input": lambda: rows.measure(data, rounds),
        "saving": lambda: saving.measure(sizes, folder / "saving", rounds),
        "startup": lambda: startup.measure(sizes, folder / "startup"),
    }
    results: dict[str, object] = {"machine": machine()}
    with Progress() as report:
        for part in parts:
            report(f"measuring {part}")
            (folder / part).mkdir(exist_ok=True)
            results[part] = measured[part]()
    return results


def machine() -> dict[str, object]:
    """Versions, cores, and how busy others keep them."""
    return {
        "python": platform.python_version(),
        "jax": metadata.version("jax"),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    run_module(main, "tests.bench")
