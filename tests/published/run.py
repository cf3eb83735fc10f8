"""A training run that others published: its layout, its figure and where both were read."""

from typing import Literal, NamedTuple

from model.families.decoder_config import DecoderConfig
from model.families.family import FamilyConfig

Unit = Literal["seconds a step", "tokens/s a chip", "TFLOP/s a chip"]


class Run(NamedTuple):
    """One published run and what its publication leaves to be assumed."""

    name: str
    chip: str
    model: FamilyConfig
    sizes: dict[str, int]
    """The mesh; `stage` is a pipeline, which our program does not have."""
    batch_size: int
    length: int
    figure: float
    unit: Unit
    source: str
    accumulation: int = 1
    scores_counted: Literal["once", "twice"] = "once"
    """Whether TFLOP/s count the half of the scores that a causal mask hides."""
    recomputation_counted: bool = False
    """Whether TFLOP/s count a second forward pass."""
    again: float = 0.0
    """Share of the forward products of a layer that are computed again."""
    attend_again: bool = False
    scores: bool = False
    """Whether attention writes its scores to memory, all T x T of them."""
    shape: tuple[int, ...] = ()
    """Torus of a slice; the nearest to a cube if it was not published."""
    chunks: int = 1
    """Parts of the model a stage holds (an interleaved pipeline)."""
    network_bandwidth: float | None = None
    """Bytes a second a chip where it is not that of the vendor's own machines."""


def llama(
    layers: int, width: int, heads: int, kv_heads: int, mlp: int, vocab: int
) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=vocab,
        num_layers=layers,
        embed_dim=width,
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=128,
        mlp_dim=mlp,
        max_length=8192,
        norm="rmsnorm",
        positions="rotary",
        activation="silu",
        gated=True,
        bias=False,
        tied_embedding=False,
    )


def gpt(
    layers: int, width: int, heads: int, vocab: int, head_dim: int | None = None
) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=vocab,
        num_layers=layers,
        embed_dim=width,
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=head_dim or width // heads,
        mlp_dim=4 * width,
        max_length=2048,
    )


MAXTEXT = "MaxText, MaxText/configs"
LLAMA2_7B = llama(32, 4096, 32, 32, 11008, 32_000)
LLAMA2_13B = llama(40, 5120, 40, 40, 13824, 32_000)
LLAMA2_70B = llama(80, 8192, 64, 8, 28672, 32_000)
