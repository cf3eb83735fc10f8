"""Families of decoders whose weights anybody may begin from: sizes of their config.json."""

from collections.abc import Callable
from typing import Any

from launch.config import RunConfig
from launch.presets.size import Size, published
from model.families.rope_scaling import RopeScaling

LLAMA: dict[str, Any] = {
    "norm": "rmsnorm",
    "positions": "rotary",
    "activation": "silu",
    "gated": True,
    "bias": False,
    "tied_embedding": False,
}
"""The block that most of them have."""


def mistral(name: str) -> RunConfig:
    """Mistral 7B: Llama's block, grouped heads, a window of 4,096 in all layers.

    Command: `meshloom train mistral-7b --mesh.fsdp 16`. Hardware: from 16 accelerators of 80 GB.
    Nobody published how long or at what rate it was trained: batch, rate and 1 T tokens are ours.
    Source: Jiang et al. 2023, Table 1; parameters as in the released weights.
    """
    size = Size(32, 4096, 32, 8, 14336, 1024, 3e-4, 119_209)
    model = size.model(
        **LLAMA, vocab_size=32_000, max_length=32_768, window=4096, global_every=None
    )
    return published(name, size, model, length=8192, warmup=2000, beta2=0.95)


SMOLLM2_SIZES = {
    "smollm2-135m": Size(30, 576, 9, 3, 1536, 1024, 3e-3, 953_674),
    "smollm2-360m": Size(32, 960, 15, 5, 2560, 1024, 3e-3, 1_907_349),
    "smollm2-1.7b": Size(24, 2048, 32, 32, 8192, 1024, 5e-4, 5_245_209),
}


def smollm2(name: str) -> RunConfig:
    """SmolLM2: Llama's block, tied tables, 2, 4 and 11 T tokens in rows of 2,048.

    Command: `meshloom train smollm2-135m --start-from hf:SmolLM2-135M`, to go on from its weights.
    Hardware: one accelerator of 80 GB (with `--train.accumulation`); the paper's 1.7b had 256 H100.
    The paper keeps the rate and lets it fall at the end; here it falls as a cosine.
    Source: Ben Allal et al. 2025, sections 4 and 6; parameters as in the released weights.
    """
    size, large = SMOLLM2_SIZES[name], name == "smollm2-1.7b"
    architecture = LLAMA | {"tied_embedding": True, "norm_epsilon": 1e-5}
    model = size.model(
        **architecture,
        vocab_size=49_152,
        max_length=8192,
        rope_theta=130_000.0 if large else 100_000.0,
    )
    return published(name, size, model, length=2048, warmup=2000, beta2=0.95)


OLMO2_SIZES = {
    "olmo2-1b": Size(16, 2048, 16, 16, 8192, 512, 4e-4, 1_907_349),
    "olmo2-7b": Size(32, 4096, 32, 32, 11008, 1024, 3e-4, 953_674),
    "olmo2-13b": Size(40, 5120, 40, 40, 13824, 2048, 9e-4, 596_046),
    "olmo2-32b": Size(64, 5120, 40, 8, 27648, 2048, 6e-4, 715_256),
}


def olmo2(name: str) -> RunConfig:
    """OLMo 2: norms of what is added and of all queries and keys, z-loss, rows of 4,096 tokens.

    Command: `meshloom train olmo2-7b --mesh.fsdp 64`. Hardware: 1b one accelerator of 80 GB, 7b
    from 16, 32b the paper's 1,024 H100 or so. Lengths are the 4 to 6 T tokens of the first stage of
    training; the vocabulary is padded as in the released tables.
    Source: OLMo et al. 2025, Tables 1 and 3; parameters as in the released weights.
    """
    size = OLMO2_SIZES[name]
    model = size.model(
        **LLAMA,
        vocab_size=100_352,
        max_length=4096,
        norm_epsilon=1e-6,
        rope_theta=500_000.0,
        qk_norm="all",
        branch_norm="after",
    )
    return published(name, size, model, warmup=2000, beta2=0.95, z_loss=1e-5)


QWEN3_SIZES = {
    "qwen3-0.6b": Size(28, 1024, 16, 8, 3072, 1024, 6e-4, 8_583_069),
    "qwen3-1.7b": Size(28, 2048, 16, 8, 6144, 1024, 5e-4, 8_583_069),
    "qwen3-4b": Size(36, 2560, 32, 8, 9728, 2048, 4e-4, 4_291_535),
    "qwen3-8b": Size(36, 4096, 32, 8, 12288, 2048, 3e-4, 4_291_535),
    "qwen3-14b": Size(40, 5120, 40, 8, 17408, 2048, 3e-4, 4_291_535),
    "qwen3-32b": Size(64, 5120, 64, 8, 25600, 4096, 1.5e-4, 2_145_767),
}


def qwen3(name: str) -> RunConfig:
    """Qwen3 without experts: heads of 128 whatever the width, norms of each, 36 T tokens.

    Command: `meshloom train qwen3-0.6b --mesh.fsdp 8`. Hardware: 0.6b one accelerator of 80 GB, 8b
    from 16, 32b from 64. Rows of 4,096 tokens are those of the first stage; batch and rate were not
    published and are ours.
    Source: Yang et al. 2025, Table 1, section 3.2; parameters as in the released weights.
    """
    size, small = QWEN3_SIZES[name], name in ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b")
    model = size.model(
        **LLAMA | {"tied_embedding": small, "norm_epsilon": 1e-6},
        vocab_size=151_936,
        head_dim=128,
        max_length=40_960,
        rope_theta=1e6,
        qk_norm="head",
    )
    return published(name, size, model, length=4096, warmup=2000, beta2=0.95)


GEMMA3_SIZES = {
    "gemma3-1b": (Size(26, 1152, 4, 1, 6912, 512, 4e-4, 953_674), 256, 512),
    "gemma3-4b": (Size(34, 2560, 8, 4, 10240, 1024, 3e-4, 953_674), 256, 1024),
    "gemma3-12b": (Size(48, 3840, 16, 8, 15360, 2048, 2e-4, 1_430_511), 256, 1024),
    "gemma3-27b": (Size(62, 5376, 32, 16, 21504, 2048, 1.5e-4, 1_668_930), 128, 1024),
}
"""And the width of a head, and the window."""
GEMMA3_SCALAR = 168
"""What the largest divides its scores by, D / N; the others take the width of a head."""


def gemma3(name: str) -> RunConfig:
    """The text of Gemma 3: norms on both sides, five layers with a window to one without, two bases
    of RoPE, 2, 4, 12 and 14 T tokens.

    Command: `meshloom train gemma3-1b --mesh.fsdp 8`. Hardware: 1b one accelerator of 80 GB, 27b
    the report's 6,144 TPU v5p. The report trains from a larger teacher, in rows of 32,768 tokens at
    the end; rows of 4,096, batch and rate are ours. Tables have the rows of the released ones, some
    of which stand for no text.
    Source: Gemma Team 2025, Table 1 and section 2; parameters as in the released weights.
    """
    size, head_dim, window = GEMMA3_SIZES[name]
    smallest, largest = name == "gemma3-1b", name == "gemma3-27b"
    model = size.model(
        vocab_size=262_144 if smallest else 262_208,
        head_dim=head_dim,
        max_length=32_768 if smallest else 131_072,
        norm="rmsnorm_1p",
        norm_epsilon=1e-6,
        positions="rotary",
        rope_theta=1e6,
        rope_scaling=RopeScaling() if smallest else RopeScaling(kind="linear", factor=8.0),
        local_rope_theta=1e4,
        qk_norm="head",
        query_scalar=GEMMA3_SCALAR if largest else None,
        branch_norm="both",
        window=window,
        global_every=6,
        global_place="last",
        activation="gelu_tanh",
        gated=True,
        bias=False,
        scale_embedding=True,
    )
    return published(name, size, model, length=4096, warmup=2000, beta2=0.95, begin_rows=True)


OPEN_WEIGHTS: dict[str, Callable[[str], RunConfig]] = {
    "mistral-7b": mistral,
    **dict.fromkeys(SMOLLM2_SIZES, smollm2),
    **dict.fromkeys(OLMO2_SIZES, olmo2),
    **dict.fromkeys(QWEN3_SIZES, qwen3),
    **dict.fromkeys(GEMMA3_SIZES, gemma3),
}
