"""What XLA must know of a GPU to compile for one that is not there, as its text proto."""

from typing import NamedTuple


class Target(NamedTuple):
    """Limits of one GPU, as CUDA reports them; nothing of what a step needs is chosen by more."""

    title: str
    capability: int
    """Major number of its compute capability; the minor one is 0."""
    cores: int
    """Streaming multiprocessors."""
    fpus: int
    """Float32 units of a core."""
    clock: float
    """GHz."""
    memory: int
    """Bytes that CUDA gives."""
    bandwidth: int
    """Bytes a second."""
    l2: int
    """Bytes of the second-level cache."""
    shared: int
    """Bytes of shared memory of a core; a block may have 1 KiB less."""

    @property
    def proto(self) -> str:
        features = "ACCELERATED_FEATURES" if self.capability >= 9 else "NONE"
        limits = {
            "threads_per_block_limit": 1024,
            "threads_per_warp": 32,
            "shared_memory_per_block": 48 * 2**10,
            "shared_memory_per_core": self.shared,
            "shared_memory_per_block_optin": self.shared - 2**10,
            "threads_per_core_limit": 2048,
            "core_count": self.cores,
            "fpus_per_core": self.fpus,
            "block_dim_limit_x": 2**31 - 1,
            "block_dim_limit_y": 2**16 - 1,
            "block_dim_limit_z": 2**16 - 1,
            "thread_dim_limit_x": 1024,
            "thread_dim_limit_y": 1024,
            "thread_dim_limit_z": 64,
            "registers_per_core_limit": 2**16,
            "registers_per_block_limit": 2**16,
            "memory_bandwidth": self.bandwidth,
            "l2_cache_size": self.l2,
            "clock_rate_ghz": self.clock,
            "device_memory_size": self.memory,
        }
        lines = "\n".join(f"  {name}: {value}" for name, value in limits.items())
        kind = f"major: {self.capability} feature_extension: {features}"
        return (
            f"gpu_device_info {{\n{lines}\n  cuda_compute_capability {{ {kind} }}\n}}\n"
            'platform_name: "CUDA"\n'
            "dnn_version_info { major: 9 minor: 10 }\n"
            f'device_description_str: "{self.title}"\n'
        )


TARGETS = {
    "a100": Target(
        title="NVIDIA A100-SXM4-80GB",
        capability=8,
        cores=108,
        fpus=64,
        clock=1.41,
        memory=85_100_068_864,
        bandwidth=2_039_040_000_000,
        l2=40 * 2**20,
        shared=164 * 2**10,
    ),
    "h100": Target(
        title="NVIDIA H100 80GB HBM3",
        capability=9,
        cores=132,
        fpus=128,
        clock=1.98,
        memory=84_942_979_072,
        bandwidth=3_352_320_000_000,
        l2=50 * 2**20,
        shared=228 * 2**10,
    ),
    "h200": Target(
        title="NVIDIA H200 141GB HBM3e",
        capability=9,
        cores=132,
        fpus=128,
        clock=1.98,
        memory=150_109_880_320,
        bandwidth=4_800_000_000_000,
        l2=50 * 2**20,
        shared=228 * 2**10,
    ),
    "b200": Target(
        title="NVIDIA B200",
        capability=10,
        cores=148,
        fpus=128,
        clock=1.965,
        memory=191_514_411_008,
        bandwidth=7_672_320_000_000,
        l2=132_644_864,
        shared=228 * 2**10,
    ),
}
"""Figures: what CUDA's device properties give, as XLA's own target_config/specs record them; of
H200's memory these have 141 GiB, more than it has, so that it is the total_memory that PyTorch
reports on such machines, the 139.80 GiB of its messages when it runs out."""
