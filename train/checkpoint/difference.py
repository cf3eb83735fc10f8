"""What differs between two checkpoints, one array at a time, on the CPU."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from train.checkpoint import arrays, manifest
from train.checkpoint.checkpointer import STATE
from train.checkpoint.manifest import Form, shown
from train.checkpoint.tree import placed


def compared(first: Path, second: Path) -> Iterator[dict[str, Any]]:
    """For each array its name and `what`: equal, differs, or why it cannot be compared.

    Those that differ have `max_abs`, the largest difference of two numbers, and `relative`, the
    norm of the difference over the norm of the first.
    """
    jax.config.update("jax_platforms", "cpu")
    a, b = manifest.read(first).arrays, manifest.read(second).arrays
    for name in a | b:
        if name not in a or name not in b:
            yield {"name": name, "what": f"only in the {'first' if name in a else 'second'}"}
        elif a[name] != b[name]:
            yield {"name": name, "what": f"{shown(a[name])} and {shown(b[name])}"}
        else:
            yield {"name": name} | _difference(*(_array(p, name, a[name]) for p in (first, second)))


def _array(checkpoint: Path, name: str, form: Form) -> np.ndarray:
    dtype, shape = form
    wanted = {name: placed(jax.ShapeDtypeStruct(shape, dtype))}
    return np.asarray(arrays.restore(checkpoint / STATE, wanted, partial=True)[name])


def _difference(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    if a.tobytes() == b.tobytes():
        return {"what": "equal"}
    a, b = a.astype(np.float64), b.astype(np.float64)
    norm = float(np.linalg.norm(a))
    apart = float(np.linalg.norm(a - b))
    return {
        "what": "differs",
        "max_abs": float(np.abs(a - b).max()),
        "relative": apart / norm if norm else float("inf"),
    }
