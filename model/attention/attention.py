"""The layer: queries of one sequence attend to keys and values of the same or of another one."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data.errors import UserError
from model.attention.kernels import attend
from model.attention.mask import Mask
from model.attention.rotary import Rotation, rotate
from model.layers import Norm, linear, scaled, softcapped
from model.sharding import axis_size, spec
from model.weights import Declare


class Keys(NamedTuple):
    """Keys and values of one layer."""

    k: Float[Array, "B S K H"]
    v: Float[Array, "B S K H"]


class Cache(NamedTuple):
    """What decoding knows of earlier tokens: one layer's keys in all slots, and the next slot."""

    keys: Keys
    start: Int[Array, ""]


class Attention(nnx.Module):
    """Multi-head (Vaswani et al. 2017), grouped (Ainslie et al. 2023) or multi-query attention.

    `declare` declares a weight as `model.weights.param` does.
    """

    def __init__(
        self,
        key: PRNGKeyArray,
        *,
        embed_dim: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        bias: bool,
        matrix_std: float,
        out_std: float,
        kernel: str,
        declare: Declare,
        query_factor: float = 1.0,
        out_bias: bool | None = None,
        qk_norm: Callable[[int, str | None], Norm] | None = None,
        softcap: float | None = None,
        query_std: float | None = None,
    ):
        """`bias` is of queries, keys and values, and of the output unless `out_bias` says another;
        `qk_norm` makes a norm of queries, and one of keys, from the number of their heads and its
        axis; `softcap` is that of the scores; queries have a `query_std` of their own if there is
        one."""
        D, N, K, H = embed_dim, num_heads, num_kv_heads, head_dim
        self.num_heads, self.num_kv_heads = N, K
        self.kernel, self.query_factor, self.softcap = kernel, query_factor, softcap
        kv = "kv_heads" if K % axis_size("kv_heads") == 0 else None
        keys = jax.random.split(key, 4)
        wide = {"decay": True, "fan_in": (0,), "fan_out": (1, 2)}
        init = jax.nn.initializers.normal(matrix_std)
        own = init if query_std is None else jax.nn.initializers.normal(query_std)
        self.w_q = declare(keys[0], (D, N, H), ("embed", "heads", None), init=own, **wide)
        self.w_k = declare(keys[1], (D, K, H), ("embed", kv, None), init=init, **wide)
        self.w_v = declare(keys[2], (D, K, H), ("embed", kv, None), init=init, **wide)
        self.w_o = declare(
            keys[3],
            (N, H, D),
            ("heads", None, "embed"),
            init=jax.nn.initializers.normal(out_std),
            decay=True,
            fan_in=(0, 1),
            fan_out=(2,),
        )

        def zero(
            shape: tuple[int, ...], *logical: str | None, bias: bool = bias
        ) -> nnx.Param[Array] | None:
            zeros = jax.nn.initializers.zeros
            return declare(None, shape, logical, init=zeros) if bias else None

        self.q_norm = None if qk_norm is None else qk_norm(N, "heads")
        self.k_norm = None if qk_norm is None else qk_norm(K, kv)
        self.b_q = zero((N, H), "heads", None)
        self.b_k = zero((K, H), kv, None)
        self.b_v = zero((K, H), kv, None)
        self.b_o = zero((D,), None, bias=bias if out_bias is None else out_bias)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Mask,
        source: Float[Array, "B S D"] | Keys | None = None,
        cache: Cache | None = None,
        rotation: Rotation | None = None,
        bias: Float[Array, "b N T S"] | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """Attend to `x` itself, to a source, or to the cache with `x` written into it; returns the
        keys attended to. Queries and keys turn with their places if there is a `rotation`; `bias`
        is added to the scores, of each row or of all.

        Those of a source may be its next call's source, so that decoding makes them once. With a
        source or a cache `mask.keys` has the places of its tokens or slots. Decoding from a cache
        always runs the `xla` kernel. Raises ValueError for a mask whose keys are others, or that
        the kernel does not serve.
        """
        if source is not None and cache is not None:
            raise UserError(
                "source must be None with a cache, because a cache holds the keys of earlier "
                "queries; try one of them"
            )
        if (mask.keys is None) != (source is None and cache is None):
            raise UserError(
                "mask.keys must be the places of a source's tokens or of a cache's slots, and None "
                "without those, because queries see each other then; try both or neither"
            )
        q = self.queries(x)
        if isinstance(source, Keys):
            k, v = source
        else:
            k, v = self.keys_of(x if source is None else source)
        if rotation is not None:
            q = rotate(q, mask.queries.positions, rotation)
            if not isinstance(source, Keys):
                places = mask.queries if source is None or mask.keys is None else mask.keys
                k = rotate(k, places.positions, rotation)
        if cache is not None:
            k = jax.lax.dynamic_update_slice_in_dim(cache.keys.k, k, cache.start, axis=1)
            v = jax.lax.dynamic_update_slice_in_dim(cache.keys.v, v, cache.start, axis=1)
        kernel = self.kernel if cache is None else "xla"
        y = attend(q, self.per_shard(k), self.per_shard(v), mask, kernel, self.softcap, bias)
        return linear(y, self.w_o, self.b_o), Keys(k, v)

    def queries(self, x: Float[Array, "B T D"]) -> Float[Array, "B T N H"]:
        """Queries, before they turn."""
        q = linear(x, self.w_q, self.b_q)
        return scaled(q if self.q_norm is None else self.q_norm(q), self.query_factor)

    def keys_of(self, x: Float[Array, "B S D"]) -> Keys:
        """Keys, before they turn, and values of a source."""
        return Keys(self.keys(x), linear(x, self.w_v, self.b_v))

    def keys(self, x: Float[Array, "B S D"]) -> Float[Array, "B S K H"]:
        """Keys, before they turn."""
        k = linear(x, self.w_k, self.b_k)
        return k if self.k_norm is None else self.k_norm(k)

    def shares(
        self, x: Float[Array, "B T D"], mask: Mask, rotation: Rotation | None = None
    ) -> Float[Array, "B N T S"]:
        """How much each query of `x` takes from each key of `x`, by head; for pictures, as it keeps
        the scores of all."""
        q, k = self.queries(x), self.keys(x)
        if rotation is not None:
            q, k = (rotate(part, mask.queries.positions, rotation) for part in (q, k))
        k = jnp.repeat(k, self.num_heads // self.num_kv_heads, axis=2)
        scores = jnp.einsum("BTNH,BSNH->BNTS", q, k, preferred_element_type=jnp.float32)
        scores = softcapped(scores * q.shape[-1] ** -0.5, self.softcap)
        scores = jnp.where(mask.visible(), scores, -jnp.inf)
        return jax.nn.softmax(scores, axis=-1)

    def per_shard(self, k: Float[Array, "B S K H"]) -> Float[Array, "B S _ H"]:
        """Keys or values with one head for every query head if the heads' shards cannot share
        them."""
        K, N = self.num_kv_heads, self.num_heads
        if K % axis_size("kv_heads") == 0:
            return k
        return jax.sharding.reshard(
            jnp.repeat(k, N // K, axis=2), spec("batch", None, "heads", None)
        )
