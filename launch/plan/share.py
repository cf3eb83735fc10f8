"""What JAX takes of a GPU's memory, as its variables say."""

import math
import os

from data.errors import UserError
from launch.plan.topology import Topology

NAME, OLD = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""JAX reads both, empty ones as if they were not set, and calls the second deprecated."""
USUAL = 0.75
"""Of a GPU's memory, what JAX takes if neither is set."""
MOST = 0.95
"""Of a GPU's memory, what leaves room for CUDA itself."""


def share_of(topology: Topology) -> float:
    """Of a device's memory, what JAX takes: all of a TPU's.

    Raises ValueError for variables that JAX would refuse, and for a share that is none.
    """
    if topology.chip.platform != "gpu":
        return 1.0
    new, old = os.environ.get(NAME, ""), os.environ.get(OLD, "")
    if new and old:
        raise UserError(
            f"{OLD}={old} must not be set beside {NAME}={new}, because JAX takes only one of them; "
            f"try without {OLD}, its old name"
        )
    name, told = (NAME, new) if new else (OLD, old)
    if not told:
        return USUAL
    try:
        share = float(told)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise UserError(
            f"{name}={told} must be above 0 and at most 1, because it is the share of a GPU's "
            f"memory that JAX takes; try {NAME}={USUAL}"
        )
    return share


def wanted(share: float) -> str:
    """The variable, as a shell sets it, that gives a process at least that share, if CUDA leaves
    it."""
    return f"{NAME}={min(MOST, share + 0.02):.2f}"
