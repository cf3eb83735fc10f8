"""The accelerators known here, with the figures a roofline needs and where these come from."""

from typing import Literal, NamedTuple


class Chip(NamedTuple):
    """One chip, as a cluster counts them: figures of the vendor, in SI units."""

    name: str
    platform: Literal["tpu", "gpu"]
    matmul_flops: float
    """Dense bfloat16 FLOP/s."""
    memory: int
    """Bytes."""
    memory_bandwidth: float
    """Bytes a second."""
    link_bandwidth: float
    """Bytes a second that a chip sends, one way: over one link of the torus of a TPU, over NVLink
    of a GPU."""
    torus: int
    """Dimensions of a TPU's torus; 0 for a GPU."""
    domain: int
    """Chips that fast links join at most: a TPU's slice, a GPU's node."""
    network_bandwidth: float
    """Bytes a second a chip, one way, between slices or nodes."""
    source: str
