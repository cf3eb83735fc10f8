"""Whether the devices at hand can hold a study's cells at all, told before anything is written."""

import os
import subprocess
import sys
from collections.abc import Sequence

from data.errors import UserError
from launch.checkout import ROOT
from launch.ladder.cells import Cell

GRADIENT = 4
"""Bytes of a parameter's gradient, in float32."""
SURE = 2**26
"""Parameters that any device can train."""


def require_room(cells: Sequence[Cell]) -> None:
    """Raise ValueError if the state of the largest cell alone is larger than all devices.

    The devices are asked by a process of its own, as who asks holds an accelerator's memory until
    it ends.
    """
    largest = max(cells, key=lambda cell: cell.parameters)
    if largest.parameters < SURE:
        return
    from train.optimizer.memory import state_bytes  # slow to import

    run = largest.config
    each = GRADIENT + state_bytes(run.train.optimizer, run.model)
    size = each * largest.parameters
    ask = "from launch.ladder.measure import room; print(room())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        [sys.executable, "-c", ask], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    room = int(told.stdout.split()[-1])
    if size > room:
        raise UserError(
            f"width {largest.width} must fit the devices, because it is trained on them, but its "
            f"{largest.parameters:,} parameters with gradient and optimizer take {size:.3g} bytes, "
            f"and there are {room:.3g}; try leaving that width out, or more devices"
        )
