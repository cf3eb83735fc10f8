"""What an answer of a network comes from: attention rolled out, and gradients integrated."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from model.layers import row_positions

NODES = 64
"""Points at which gradients are taken between baseline and text."""


class Explanation(NamedTuple):
    """One text of T tokens."""

    shares: Float[Array, "L N T T"]
    """How much each token takes from each other, by layer and head; rows sum to 1."""
    rollout: Float[Array, "T T"]
    """The same through all layers."""
    attributions: Float[Array, "T"]
    """What each token adds to the score: they sum to that of the text less that of the baseline."""
    score: Float[Array, ""]
    """Of the text."""
    baseline: Float[Array, ""]
    """Of the text with every token hidden."""


def explain(
    model: Any,
    tokens: Int[Array, "1 T"],
    hidden: Int[Array, "1 T"],
    score: Callable[[Any, Float[Array, "B T D"], Int[Array, "B T"]], Float[Array, "B"]],
) -> Explanation:
    """Attention (Vaswani et al. 2017), its rollout (Abnar & Zuidema 2020) and the integrated
    gradients (Sundararajan et al. 2017) of a score of final hidden states [B, T, D] and segments.

    `hidden` is the row with every token hidden, where the path to the text begins. The integral is
    a Gauss-Legendre sum of NODES gradients.
    """
    positions, segments = row_positions(tokens), jnp.ones_like(tokens)
    text, start = (model.embed(row, positions) for row in (tokens, hidden))
    shares = model.attention_shares(text, positions, segments)[:, 0]

    def scored(x: Array) -> Array:
        return score(model, model.encode(x, positions, segments), segments)[0]

    nodes, weights = np.polynomial.legendre.leggauss(NODES)

    def add(total: Array, node: tuple[Array, Array]) -> tuple[Array, None]:
        place, weight = node
        return total + weight * jax.grad(scored)(start + place * (text - start)), None

    pairs = jnp.asarray((nodes + 1) / 2, text.dtype), jnp.asarray(weights / 2, text.dtype)
    mean, _ = jax.lax.scan(add, jnp.zeros_like(text), pairs)
    attributions = jnp.sum(mean * (text - start), axis=-1)[0]
    return Explanation(shares, rollout(shares), attributions, scored(text), scored(start))


def rollout(shares: Float[Array, "L N T T"]) -> Float[Array, "T T"]:
    """How much each token's last state takes from each token of the text: the product over layers
    of the mean of all heads, half of it the residual stream's own."""
    T = shares.shape[-1]
    layers = (jnp.mean(shares, axis=1) + jnp.eye(T)[None]) / 2
    total, _ = jax.lax.scan(lambda below, layer: (layer @ below, None), jnp.eye(T), layers)
    return total
