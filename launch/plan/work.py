"""What one train step asks of one chip: products, memory traffic and collectives.

Two places tell it: arithmetic from the config alone, and the compiled program. One roofline reads
either.
"""

from typing import Literal, NamedTuple

Kind = Literal["all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute"]
Origin = Literal["arithmetic", "compiler"]


class Collective(NamedTuple):
    """Collectives of one kind over the same mesh axes, all of a step together."""

    kind: Kind
    axes: tuple[str, ...]
    """Mesh axes that the group spans, slowest first; empty if it follows no axes."""
    group: int
    """Chips in a group."""
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    """How often it runs in a step, trips of loops counted."""
    bytes: float
    """Sent by a chip in a step, by a ring: of a result of G bytes over n chips, G (n - 1) / n for
    a gather or a scatter, twice that for an all-reduce."""
    where: str = ""
    """Line of the source that asked for it, if the compiler says."""
    apart: bool = False
    """Whether the chips are in slices of their own, as the compiler sums between slices after what
    it did inside each."""


class Work(NamedTuple):
    """Of one chip in one step."""

    matmul_flops: float
    """Multiplications and additions of matrix products, recomputation counted."""
    memory_bytes: float
    """Read from and written to the chip's memory."""
    collectives: tuple[Collective, ...]
    origin: Origin
