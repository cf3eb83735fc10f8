"""Dropout: the one thing that is random in a network while it is trained."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def dropout(x: Float[Array, "..."], rate: float, key: PRNGKeyArray | None) -> Float[Array, "..."]:
    """`x` with each element 0 with probability `rate` and else divided by 1 - rate (Srivastava et
    al. 2014); `x` itself at rate 0, and without a key, as in evaluation.

    Which elements they are is a function of key, rate and shape: the same on every mesh, as JAX's
    `threefry_partitionable` counts the bits by their place in the whole array.
    """
    if key is None or rate == 0:
        return x
    kept = jax.random.bernoulli(key, 1 - rate, x.shape, out_sharding=jax.typeof(x).sharding)
    return jnp.where(kept, x / (1 - rate), 0)
