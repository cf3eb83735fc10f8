"""`meshloom` on data or hardware that err: `python harmed.py HARM ARGUMENTS-OF-MESHLOOM`.

HARM is `nan:ROW` or `spike:ROW`, a row of the training order whose targets are bad, or
`flip:STEP:LEAF:DEVICE:BIT`, a bit of one device's memory that turns over after a step.
"""

import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from data.batch import TokenRows
from data.rows.tokens import TokenWindows
from launch.cli import program
from launch.run import build
from train.checkpoint.tree import named_leaves


def bad_row(kind: str, number: int) -> None:
    """Make one row of the order have no number for a loss, or targets that cannot be predicted."""
    read = TokenWindows.batch

    def batch(self: TokenWindows, indices: np.ndarray) -> TokenRows:
        rows = read(self, indices)
        bad = np.asarray(indices) == number
        if kind == "nan":
            rows.weights[bad] = np.nan
        else:
            rows.targets[bad] = np.random.default_rng(number).integers(128, 256)
        return rows

    TokenWindows.batch = batch


def flip(step: int, leaf: int, device: int, bit: int) -> None:
    """Turn over one bit where a device keeps its copy of a parameter, after so many steps."""
    lower = build.lower_train_step

    def lowered(*arguments: Any, **settings: Any) -> Any:
        train_step = lower(*arguments, **settings).compile()
        count = 0

        def harmed(state: Any, *rest: Any) -> Any:
            nonlocal count
            state, metrics = train_step(state, *rest)
            count += 1
            if count == step:
                leaves = named_leaves(state.model)
                name = list(leaves)[leaf % len(leaves)]
                turn_over(leaves[name], device, bit)
                print(f"turned over a bit of {name} on device {device}", flush=True)
            return state, metrics

        vars(harmed)["memory_analysis"] = lambda: None
        return SimpleNamespace(compile=lambda: harmed)

    build.lower_train_step = lowered


def turn_over(array: jax.Array, device: int, bit: int) -> None:
    copy = next(s.data for s in array.addressable_shards if s.device.id == device)
    copy.block_until_ready()
    byte, place = divmod(bit % (8 * copy.nbytes), 8)
    memory = ctypes.c_uint8.from_address(copy.unsafe_buffer_pointer() + byte)
    memory.value ^= 1 << place


if __name__ == "__main__":
    how, *numbers = sys.argv.pop(1).split(":")
    if how == "flip":
        flip(*map(int, numbers))
    else:
        bad_row(how, *map(int, numbers))
    program()
