"""Stochastic depth: images for which a branch adds nothing in a step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from model.sharding import spec


def drop_path(
    x: Float[Array, "B *places C"], rate: float, key: PRNGKeyArray | None
) -> Float[Array, "B *places C"]:
    """What a branch adds, 0 with probability `rate` for an image as a whole and else divided by
    1 - rate (Huang et al. 2016); `x` itself at rate 0, and without a key, as in evaluation. Which
    images they are is the same on every mesh, as in `model.dropout`."""
    if key is None or rate == 0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, (len(x),), out_sharding=spec("batch"))
    return jnp.where(kept[(..., *(None,) * (x.ndim - 1))], x / (1 - rate), 0)
