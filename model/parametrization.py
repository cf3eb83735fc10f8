"""How width and depth enter initial weights, activations and rates: muP and depth scaling.

Every factor is 1 at the base shape, where all parametrizations are the standard one. Width follows
Yang et al. 2022 (Tensor Programs V, table 8, in which one table may serve input and output), depth
Bordelon et al. 2023 (`sqrt`) or Dey et al. 2025 (CompleteP, `linear`).
"""

import math

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from model.families.decoder_config import DecoderConfig

EXPONENTS = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}


def width_ratio(config: DecoderConfig) -> float:
    """D over the base width. Heads and feed-forward are taken to widen as the model does."""
    return config.embed_dim / (config.base_width or config.embed_dim)


def depth_ratio(config: DecoderConfig) -> float:
    """L over the base depth."""
    return config.num_layers / (config.base_depth or config.num_layers)


def matrix_std(config: DecoderConfig) -> float:
    """Standard deviation of initial weights of a matrix between two widths: as 1 / sqrt(fan-in)."""
    return config.init_std / math.sqrt(width_ratio(config))


def residual_std(config: DecoderConfig) -> float:
    """That of matrices that write to the residual stream.

    The standard one falls as 1 / sqrt(2 L). Depth scaling shrinks the branches instead, so that L
    is then the base depth and nothing is scaled twice.
    """
    return matrix_std(config) / math.sqrt(2 * (config.base_depth or config.num_layers))


def embedding_scale(config: DecoderConfig) -> float:
    """What `scale_embedding` multiplies by: sqrt(D) of the base, as rows of the table do not
    shrink."""
    return (config.base_width or config.embed_dim) ** 0.5


def query_scale(config: DecoderConfig) -> float:
    """Factor on queries, besides the kernels' 1 / sqrt(H): scores fall as 1 / H from the base on.

    Trained queries and keys are correlated, so that their products grow as H, not as sqrt(H).
    """
    return math.sqrt((config.base_head_dim or config.head_dim) / config.head_dim)


def branch_scale(config: DecoderConfig) -> float:
    """Factor on what attention and feed-forward add to the residual stream."""
    return depth_ratio(config) ** -EXPONENTS[config.depth_scaling]


def logit_scale(config: DecoderConfig) -> float:
    """Factor on final hidden states, and so on logits: trained logits sum D correlated products."""
    return 1 / width_ratio(config)


def rate_scale(config: DecoderConfig, weight: nnx.Param[Array]) -> float:
    """Factor on the learning rate of a parameter, for Adam and Lion, by what it declares.

    Matrices between two widths learn as 1 / D. Tables, biases and norms learn alike at every width.
    """
    declared = weight.get_metadata()
    between_widths = declared["fan_in"] and declared["fan_out"]
    wide = width_ratio(config) if between_widths else 1.0
    deep = depth_ratio(config) if declared["in_block"] else 1.0
    return deep ** (EXPONENTS[config.depth_scaling] - 1) / wide


def gradient_scale(config: DecoderConfig, weight: nnx.Param[Array]) -> float:
    """Factor that gives gradients the size they have at the base, so that Adam's epsilon counts
    alike.

    They come back through the factor on logits, those of a block through the branches' too.
    """
    in_block = weight.get_metadata()["in_block"]
    return 1 / (logit_scale(config) * (branch_scale(config) if in_block else 1.0))


def scaled(x: Float[Array, "*shape"], factor: float) -> Float[Array, "*shape"]:
    """x * factor in the type of `x`; x itself if the factor is 1."""
    return x if factor == 1 else (x.astype(jnp.float32) * factor).astype(x.dtype)
