"""Causal attention on TPU by the splash kernel that JAX ships: scores exist for one block of
queries and keys at a time, and blocks hidden by the causal mask or the window are skipped."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    BlockSizes,
    CausalMask,
    LocalMask,
    MultiHeadMask,
    SegmentIds,
    make_splash_mha,
)
from jaxtyping import Array, Bool, Float, Int

from model.sharding import spec

# The kernel wants blocks of whole registers, 128 lanes. 512 is what MaxText sets for TPU.
LANES = 128
LARGEST_BLOCK = 512


def splash_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B T K H"],
    v: Float[Array, "B T K H"],
    segment_ids: Int[Array, "B T"] | None,
    *,
    window: int | None,
    banded: Bool[Array, ""] | None = None,
    softcap: float | None = None,
    interpret: bool = False,
) -> Float[Array, "B T N H"]:
    """Softmax attention of every query to the keys of its segment that are not after it.

    With a `window` a query sees that many keys, itself included, unless `banded` is false.
    With a `softcap` c a score s is c tanh(s / c). Float32 softmax; each device takes its own rows
    and heads, N a multiple of K on each. A segment's tokens lie side by side, so that distances in
    the row are those in the document.
    `interpret` runs the kernel on any backend, slowly.
    """

    def on_device(q, k, v, segment_ids, banded):
        T, N, H = q.shape[1:]
        length = T + -T % LANES
        ids = None if segment_ids is None else padded(segment_ids, length)
        arguments = (
            by_head(q * (1 / math.sqrt(H)), length),
            by_head(k, length),
            by_head(v, length),
            None if ids is None else SegmentIds(ids, ids),
        )
        run = jax.vmap(row_kernel(length, N, window, softcap, interpret))
        if banded is not None:
            dense = jax.vmap(row_kernel(length, N, None, softcap, interpret))
            y = jax.lax.cond(banded, run, dense, *arguments)
        else:
            y = run(*arguments)
        return jnp.swapaxes(y, 1, 2)[:, :T]

    heads = spec("batch", None, "heads", None)
    return jax.shard_map(
        on_device,
        in_specs=(heads, heads, heads, spec("batch", None), spec()),
        out_specs=heads,
        check_vma=False,
    )(q, k, v, segment_ids, banded)


def row_kernel(
    T: int, N: int, window: int | None, softcap: float | None, interpret: bool
) -> Callable[..., Any]:
    """Attention of one row: q [N T H], k and v [K T H], segments if any, to [N T H]."""
    mask = CausalMask((T, T)) if window is None else LocalMask((T, T), (window - 1, 0), 0)
    return make_splash_mha(
        MultiHeadMask([mask] * N),
        block_sizes=block_sizes(T),
        head_shards=1,
        q_seq_shards=1,
        attn_logits_soft_cap=softcap,
        interpret=interpret,
    )


def block_sizes(T: int) -> BlockSizes:
    """One size for queries and keys, forward and backward: the largest that divides T."""
    size = math.gcd(T, LARGEST_BLOCK)
    return BlockSizes(
        block_q=size,
        block_kv=size,
        block_q_dkv=size,
        block_kv_dkv=size,
        block_q_dq=size,
        block_kv_dq=size,
    )


def by_head(x: Float[Array, "B T N H"], length: int) -> Float[Array, "B N _ H"]:
    """Tokens of a head side by side, `length` of them."""
    return jnp.swapaxes(padded(x, length), 1, 2)


def padded(x: Array, length: int) -> Array:
    """Zeros after each row's last token: no token sees what is after it."""
    return jnp.pad(x, ((0, 0), (0, length - x.shape[1])) + ((0, 0),) * (x.ndim - 2))
