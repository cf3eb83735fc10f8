"""Attention in blocks of queries, for backends whose matmuls are XLA's own.

As in FlashAttention (Dao et al. 2022) the backward pass keeps one number a query and computes the
probabilities again; keys later than a block's last query may be skipped, not masked.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from model.layers import softcapped

BLOCKS = 4
MASKED = -1e30


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def blocked_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: Bool[Array, "B 1 T S"] | None,
    skip: bool,
    softcap: float | None = None,
    bias: Float[Array, "b N T S"] | None = None,
) -> Float[Array, "B T N H"]:
    """Softmax attention of every query to the keys that `mask` lets it see, or to all without one.

    With `skip`, S is T and no query sees a later key: with a mask this must be so, without one it
    is made so. Float32 softmax; N is a multiple of K; every query must see a key. Scores exist for
    one block at a time, T/4 queries by at most S keys, and none is kept for the backward pass.
    Lengths that 4 does not divide are one block. With a `softcap` c a score s is c tanh(s / c). A
    `bias`, of each row or of all, is added after that.
    """
    return forward(q, k, v, mask, skip, softcap, bias)[0]


def forward(q, k, v, mask, skip: bool, softcap: float | None, bias):
    K = k.shape[2]
    bias = None if bias is None else bias.reshape(bias.shape[0], K, -1, *bias.shape[2:])
    q, k, v = by_head(q, K), by_head(k, K)[:, :, 0], by_head(v, K)[:, :, 0]
    parts, norms = [], []
    for start, end in blocks(q.shape[3]):
        keys = end if skip else k.shape[2]
        scores = block_scores(q, k, start, end, keys, softcap)
        scores = masked(biased(scores, bias, start, end), mask, skip, start, end)
        top = jnp.max(scores, axis=-1, keepdims=True)
        exp = jnp.exp(scores - top)
        total = jnp.sum(exp, axis=-1, keepdims=True)
        mixed = jnp.einsum("BKGTS,BKSH->BKGTH", exp.astype(v.dtype), v[:, :, :keys])
        parts.append((mixed / total).astype(v.dtype))
        norms.append(top + jnp.log(total))
    y, norm = jnp.concatenate(parts, axis=3), jnp.concatenate(norms, axis=3)
    return by_token(y), (q, k, v, mask, y, norm, bias)


def backward(skip: bool, softcap: float | None, residuals, dy):
    q, k, v, mask, y, norm, bias = residuals
    dy = by_head(dy, k.shape[1])
    shift = jnp.sum((dy * y).astype(jnp.float32), axis=-1, keepdims=True)
    scale = 1 / math.sqrt(q.shape[-1])
    dq, db, dk, dv = [], [], jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    for start, end in blocks(q.shape[3]):
        keys, at = end if skip else k.shape[2], slice(start, end)
        scores = block_scores(q, k, start, end, keys, softcap)
        all_scores = masked(biased(scores, bias, start, end), mask, skip, start, end)
        p = jnp.exp(all_scores - norm[:, :, :, at])
        dp = jnp.einsum("BKGTH,BKSH->BKGTS", dy[:, :, :, at], v[:, :, :keys])
        ds = p * (dp - shift[:, :, :, at])
        if bias is not None:
            added = ds if bias.shape[0] > 1 else jnp.sum(ds, axis=0, keepdims=True)
            db.append(jnp.pad(added, ((0, 0),) * 4 + ((0, bias.shape[-1] - keys),)))
        ds *= scale
        if softcap is not None:
            ds *= 1 - jnp.square(scores / softcap)
        ds = ds.astype(q.dtype)
        dq.append(jnp.einsum("BKGTS,BKSH->BKGTH", ds, k[:, :, :keys]))
        later = ((0, 0), (0, 0), (0, k.shape[2] - keys), (0, 0))
        dk += jnp.pad(jnp.einsum("BKGTS,BKGTH->BKSH", ds, q[:, :, :, at]), later)
        dv += jnp.pad(jnp.einsum("BKGTS,BKGTH->BKSH", p.astype(q.dtype), dy[:, :, :, at]), later)
    dk, dv = dk.astype(k.dtype)[:, :, None], dv.astype(v.dtype)[:, :, None]
    dbias = None
    if bias is not None:
        dbias = jnp.concatenate(db, axis=3).astype(bias.dtype)
        dbias = dbias.reshape(bias.shape[0], -1, *bias.shape[3:])
    return by_token(jnp.concatenate(dq, axis=3)), by_token(dk), by_token(dv), None, dbias


blocked_attention.defvjp(forward, backward)


def blocks(T: int) -> list[tuple[int, int]]:
    """First query and first after it, of each block."""
    size = T // BLOCKS if T % BLOCKS == 0 else T
    return [(start, start + size) for start in range(0, T, size)]


def block_scores(
    q, k, start: int, end: int, keys: int, softcap: float | None
) -> Float[Array, "B K G block keys"]:
    """Float32 scores of one block's queries with the first `keys` keys."""
    q = q[:, :, :, start:end] * (1 / math.sqrt(q.shape[-1]))
    scores = jnp.einsum("BKGTH,BKSH->BKGTS", q, k[:, :, :keys], preferred_element_type=jnp.float32)
    return softcapped(scores, softcap)


def biased(
    scores: Float[Array, "B K G block keys"], bias, start: int, end: int
) -> Float[Array, "B K G block keys"]:
    """The scores with what is added to those of the block."""
    return scores if bias is None else scores + bias[:, :, :, start:end, : scores.shape[-1]]


def masked(
    scores: Float[Array, "B K G block keys"], mask, skip: bool, start: int, end: int
) -> Float[Array, "B K G block keys"]:
    """The scores, of keys that are not seen very low."""
    keys = scores.shape[-1]
    if mask is not None:
        seen = mask[:, :, None, start:end, :keys]
    elif skip:
        order = jnp.arange(start, end)[:, None] >= jnp.arange(keys)[None, :]
        seen = order[None, None, None]
    else:
        return scores
    return jnp.where(seen, scores, MASKED)


def by_head(x: Float[Array, "B T N H"], K: int) -> Float[Array, "B K G T H"]:
    """Tokens of a head side by side, query heads grouped by their key head."""
    B, T, N, H = x.shape
    return jnp.transpose(x.reshape(B, T, K, N // K, H), (0, 2, 3, 1, 4))


def by_token(x: Float[Array, "B K G T H"]) -> Float[Array, "B T N H"]:
    """Undo `by_head`."""
    B, K, G, T, H = x.shape
    return jnp.transpose(x, (0, 3, 1, 2, 4)).reshape(B, T, K * G, H)
