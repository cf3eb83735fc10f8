"""The accelerators known here: the figures that a roofline needs, with their sources, and the peaks
that MFU is measured against. Imports no jax."""

from typing import Literal, NamedTuple

from train.report.numbers import GIB, MIB


class Chip(NamedTuple):
    """One chip, as a cluster counts them: peaks that the vendor gives, in SI units."""

    name: str
    platform: Literal["tpu", "gpu"]
    matmul_flops: float
    """Dense bfloat16 FLOP/s."""
    memory: int
    """Bytes."""
    memory_bandwidth: float
    """Bytes a second."""
    link_bandwidth: float
    """Bytes a second that a chip sends, one way: over one link of the torus of a TPU, which has
    two a dimension, or over all of NVLink of a GPU."""
    torus: int
    """Dimensions of a TPU's torus; 0 for a GPU."""
    domain: int
    """Chips that fast links join at most: a TPU's pod, a GPU's node."""
    network_bandwidth: float
    """Bytes a second a chip, one way, between slices or nodes."""
    source: str
    kinds: tuple[str, ...]
    """What `jax.Device.device_kind` calls it, or begins with."""
    devices: int = 1
    """Devices that JAX shows of a chip."""


# Google's pages write 32 GB on one and 32 GiB on another for the same chip: it is GiB. NVIDIA's
# 80 GB is what nvidia-smi gives as the memory in all. "Bidirectional" bandwidth of a chip is over
# all its links, both ways: a quarter (2-D) or a sixth (3-D) of it is one link, half of that one
# way.
_BOOK = "jax-ml.github.io/scaling-book/tpus"
_CLOUD = "docs.cloud.google.com/tpu/docs"

CHIPS: dict[str, Chip] = {
    chip.name: chip
    for chip in (
        Chip(
            name="v4",
            platform="tpu",
            matmul_flops=275e12,
            memory=32 * GIB,
            memory_bandwidth=1200e9,
            link_bandwidth=50e9,
            torus=3,
            domain=4096,
            network_bandwidth=6.25e9,
            source=f"{_CLOUD}/v4; links: Jouppi et al. 2023 (arXiv 2304.01433); network: {_BOOK}",
            kinds=("TPU v4",),
        ),
        Chip(
            name="v5e",
            platform="tpu",
            matmul_flops=197e12,
            memory=16 * GIB,
            memory_bandwidth=819e9,
            link_bandwidth=50e9,
            torus=2,
            domain=256,
            network_bandwidth=3.125e9,
            source=f"{_CLOUD}/v5e (400 GB/s of links both ways, 6.4 Tb/s of network a pod)",
            kinds=("TPU v5 lite", "TPU v5e"),
        ),
        Chip(
            name="v5p",
            platform="tpu",
            matmul_flops=459e12,
            memory=95 * GIB,
            memory_bandwidth=2765e9,
            link_bandwidth=100e9,
            torus=3,
            domain=8960,
            network_bandwidth=6.25e9,
            source=f"{_CLOUD}/v5p (1,200 GB/s of links both ways, 50 Gb/s of network a chip)",
            kinds=("TPU v5", "TPU v5p"),
        ),
        Chip(
            name="v6e",
            platform="tpu",
            matmul_flops=918e12,
            memory=32 * GIB,
            memory_bandwidth=1638e9,
            link_bandwidth=100e9,
            torus=2,
            domain=256,
            network_bandwidth=12.5e9,
            source=f"{_CLOUD}/v6e; network: {_CLOUD}/tpu7x (800 GB/s of links, 100 Gb/s a chip)",
            kinds=("TPU v6 lite", "TPU v6e"),
        ),
        Chip(
            name="tpu7x",
            platform="tpu",
            matmul_flops=2307e12,
            memory=192 * GIB,
            memory_bandwidth=7380e9,
            link_bandwidth=100e9,
            torus=3,
            domain=9216,
            network_bandwidth=12.5e9,
            source=f"{_CLOUD}/tpu7x (1,200 GB/s of links both ways, 100 Gb/s of network a chip)",
            kinds=("TPU7x",),
            devices=2,
        ),
        Chip(
            name="a100",
            platform="gpu",
            matmul_flops=312e12,
            memory=81920 * MIB,
            memory_bandwidth=2039e9,
            link_bandwidth=300e9,
            torus=0,
            domain=8,
            network_bandwidth=25e9,
            source="NVIDIA's data sheet, A100 80GB SXM; DGX A100: a port of 200 Gb/s a GPU",
            kinds=("NVIDIA A100",),
        ),
        Chip(
            name="h100",
            platform="gpu",
            matmul_flops=989.4e12,
            memory=81559 * MIB,
            memory_bandwidth=3350e9,
            link_bandwidth=450e9,
            torus=0,
            domain=8,
            network_bandwidth=50e9,
            source="NVIDIA's data sheet, H100 SXM; DGX H100: a port of 400 Gb/s a GPU",
            kinds=("NVIDIA H100",),
        ),
        Chip(
            name="h200",
            platform="gpu",
            matmul_flops=989.4e12,
            memory=143771 * MIB,
            memory_bandwidth=4800e9,
            link_bandwidth=450e9,
            torus=0,
            domain=8,
            network_bandwidth=50e9,
            source="NVIDIA's data sheet, H200 SXM; DGX H200: a port of 400 Gb/s a GPU",
            kinds=("NVIDIA H200",),
        ),
        Chip(
            name="b200",
            platform="gpu",
            matmul_flops=2250e12,
            memory=183359 * MIB,
            memory_bandwidth=8000e9,
            link_bandwidth=900e9,
            torus=0,
            domain=8,
            network_bandwidth=50e9,
            source="NVIDIA's Blackwell brief, HGX B200; DGX B200: a port of 400 Gb/s a GPU",
            kinds=("NVIDIA B200",),
        ),
    )
}

PEAKS: dict[str, float] = {
    # Whole TFLOP/s, as records have always been measured against.
    **{
        kind: round(chip.matmul_flops, -12) / chip.devices
        for chip in CHIPS.values()
        for kind in chip.kinds
    },
    # NVIDIA prints twice as much, with sparsity. A TPU v3 chip is two devices; here is a device.
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200 NVL": 835e12,
    "NVIDIA GH200": 989e12,
    "NVIDIA GB200": 2500e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "TPU v3": 61.5e12,
}
"""Dense bf16 FLOP/s of a JAX device by its kind, from the makers' data sheets; the longest name
that begins the device kind counts."""
# They begin like a device of the table and are slower.
UNLISTED = ("NVIDIA L40", "NVIDIA L40G", "TPU v4 lite", "TPU v4i")


def device_peak(device_kind: str) -> float | None:
    """Dense bf16 FLOP/s of a device, by its `jax.Device.device_kind`; None if it is not known."""
    known = (*PEAKS, *UNLISTED)
    names = [n for n in known if device_kind == n or device_kind.startswith((n + " ", n + "-"))]
    return PEAKS.get(max(names, key=len)) if names else None
