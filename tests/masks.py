"""Kinds of mask, masks of small rows, and attention by its formula in NumPy, for several tests."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from model.attention.mask import Mask, MaskKind, TokenPlaces

T, S, WINDOW = 8, 6, 3
FIELDS = [field.name for field in dataclasses.fields(MaskKind)]
KINDS = [
    MaskKind(**dict(zip(FIELDS, values, strict=True)))
    for values in itertools.product((True, False), repeat=len(FIELDS))
]


def small_mask(kind: MaskKind, seed: int) -> Mask:
    """A mask of that kind for two rows: T queries, and S keys if they are separate."""
    rng = np.random.default_rng(seed)
    queries = places(rng, T, kind)
    keys = places(rng, S, kind) if kind.separate_keys else None
    return Mask(
        causal=kind.causal,
        window=WINDOW if kind.window else None,
        queries=queries,
        keys=keys,
        prefix=(keys or queries).positions < rng.integers(0, 4, (2, 1)) if kind.prefix else None,
    )


def places(rng: np.random.Generator, length: int, kind: MaskKind) -> TokenPlaces:
    """Two documents a row, or one that begins anywhere if keys and queries are separate."""
    row = np.tile(np.arange(length, dtype=np.int32), (2, 1))
    if not kind.segments:
        return TokenPlaces(jnp.asarray(row + (rng.integers(0, 3) if kind.separate_keys else 0)))
    border = rng.integers(1, length, (2, 1))
    second = row >= border
    positions = np.where(second, row - border, row).astype(np.int32)
    return TokenPlaces(jnp.asarray(positions), jnp.asarray(second + 1, jnp.int32))


def seen(mask: Mask) -> np.ndarray:
    """[B, T, S]: what each query sees, pair by pair, in the words that define a mask."""
    queries, keys, prefix = jax.tree.map(np.asarray, (mask.queries, mask.keys, mask.prefix))
    keys = queries if keys is None else keys
    visible = np.zeros((*queries.positions.shape, keys.positions.shape[1]), bool)
    for b, t, s in np.ndindex(visible.shape):
        distance = int(queries.positions[b, t]) - int(keys.positions[b, s])
        near = True
        if mask.causal and distance < 0:
            near = False
        if mask.window is not None and not -mask.window < distance < mask.window:
            near = False
        if prefix is not None and prefix[b, s]:
            near = True
        if queries.segment_ids is not None:
            near = near and queries.segment_ids[b, t] == keys.segment_ids[b, s]
        visible[b, t, s] = near
    return visible


def softmax_attention(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, dy: np.ndarray, seen: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Output, and gradients of q, k and v where `dy` is that of the output; all in float64.

    A query that sees nothing gives zeros.
    """
    q, k, v, dy = (x.astype(np.float64) for x in (q, k, v, dy))
    K, shared = k.shape[2], q.shape[2] // k.shape[2]
    k, v = np.repeat(k, shared, axis=2), np.repeat(v, shared, axis=2)
    scale = q.shape[-1] ** -0.5
    scores = np.einsum("btnh,bsnh->bnts", q, k) * scale
    weights = np.where(seen[:, None], np.exp(scores), 0)
    p = weights / np.maximum(weights.sum(-1, keepdims=True), 1e-300)
    y = np.einsum("bnts,bsnh->btnh", p, v)
    dp = np.einsum("btnh,bsnh->bnts", dy, v)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * scale
    dq = np.einsum("bnts,bsnh->btnh", ds, k)
    dk, dv = np.einsum("bnts,btnh->bsnh", ds, q), np.einsum("bnts,btnh->bsnh", p, dy)
    B, length, _, H = k.shape
    dk, dv = (x.reshape(B, length, K, shared, H).sum(3) for x in (dk, dv))
    return y, dq, dk, dv
