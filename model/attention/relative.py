"""Relative positions (Raffel et al. 2020, section 2.1): a number for each head and each bucket of
distances, which is added to scores."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int, Int32, PRNGKeyArray

from model.sharding import spec
from model.weights import Declare


def distance_buckets(buckets: int, largest: int) -> Int32[np.ndarray, "_"]:
    """The bucket of each distance from 0 to `largest`, which stands for all beyond: one for each
    near distance up to half of the buckets, the others ever wider."""
    near, far = buckets // 2, np.arange(largest + 1)
    share = np.log(np.maximum(far, 1).astype(np.float32) / near) / math.log(largest / near)
    wide = near + (share * (buckets - near)).astype(np.int32)
    return np.where(far < near, far, np.minimum(wide, buckets - 1)).astype(np.int32)


class RelativeBias(nnx.Module):
    """The table of a stack, which its first layer has in T5 and all its layers share."""

    def __init__(
        self,
        declare: Declare,
        key: PRNGKeyArray,
        *,
        buckets: int,
        largest: int,
        num_heads: int,
        causal: bool,
        std: float,
    ):
        """Without `causal` half of the buckets are of keys after the query. `largest` is the
        distance from which all are in one bucket."""
        self.causal, self.buckets, self.largest = causal, buckets, largest
        init = jax.nn.initializers.normal(std)
        shape, logical = (buckets, num_heads), (None, "heads")
        self.table = declare(key, shape, logical, init=init, decay=True, fan_out=(1,))

    def __call__(
        self, queries: Int[Array, "b T"], keys: Int[Array, "b S"]
    ) -> Float[Array, "b N T S"]:
        """What is added to the scores of queries and keys at those positions: of each row, or of
        all if b is 1."""
        ahead = keys[:, None, :] - queries[:, :, None]
        before, half = jnp.maximum(-ahead, 0), 0
        if not self.causal:
            before, half = jnp.abs(ahead), self.buckets // 2
        listed = jnp.asarray(distance_buckets(self.buckets - half, self.largest))
        rows = "batch" if ahead.shape[0] > 1 else None
        each = spec(rows, None, None)
        bucket = listed.at[jnp.minimum(before, self.largest)].get(out_sharding=each)
        bucket = bucket + half * (ahead > 0)
        added = self.table[...].at[bucket].get(out_sharding=spec(rows, None, None, "heads"))
        return jnp.transpose(added, (0, 3, 1, 2))
