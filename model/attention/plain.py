"""Attention by its formula, for what JAX's own has not: capped scores, and a bias in float32."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from model.attention.blocked import MASKED
from model.layers import softcapped


def plain_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: Bool[Array, "B 1 T S"],
    bias: Float[Array, "b N T S"] | None,
    softcap: float | None,
) -> Float[Array, "B T N H"]:
    """Softmax attention as `model.attention.kernels.attend` has it, in float32 up to the shares."""
    B, T, _, H = q.shape
    grouped = q.reshape(B, T, k.shape[2], -1, H) * H**-0.5
    scores = jnp.einsum("BTKGH,BSKH->BKGTS", grouped, k, preferred_element_type=jnp.float32)
    scores = softcapped(scores, softcap)
    if bias is not None:
        scores += bias.reshape(bias.shape[0], k.shape[2], -1, *bias.shape[2:])
    scores = jnp.where(mask[:, :, None], scores, MASKED)
    shares = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("BKGTS,BSKH->BTKGH", shares, v).reshape(q.shape)
