"""Attention of a recurrent decoder to all states of a source (Luong et al. 2015)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from model.attention.blocked import MASKED
from model.layers import linear
from model.weights import Declare


class GlobalAttention(nnx.Module):
    """tanh(W [context; x]) of a state x and the mean of the source's states, weighed by the softmax
    of their scores x W s: the paper's global attention with the score `general`, without input
    feeding, so that all places of a text are computed at once."""

    def __init__(self, declare: Declare, key: PRNGKeyArray, H: int):
        init = jax.nn.initializers.normal(H**-0.5)
        fans = {"init": init, "decay": True, "fan_in": (0,), "fan_out": (1,)}
        score, context, own = jax.random.split(key, 3)
        self.w_score = declare(score, (H, H), ("embed", None), **fans)
        self.w_context = declare(context, (H, H), ("embed", None), **fans)
        self.w_own = declare(own, (H, H), ("embed", None), **fans)

    def __call__(
        self,
        x: Float[Array, "B T H"],
        source: Float[Array, "B S H"],
        visible: Bool[Array, "B T S"],
    ) -> Float[Array, "B T H"]:
        """What is scored at each place; `visible` says which states of the source it sees."""
        scores = jnp.einsum(
            "BTH,BSH->BTS",
            linear(x, self.w_score, None),
            source,
            preferred_element_type=jnp.float32,
        )
        shares = jax.nn.softmax(jnp.where(visible, scores, MASKED), axis=-1)
        context = jnp.einsum("BTS,BSH->BTH", shares.astype(source.dtype), source)
        return jnp.tanh(linear(context, self.w_context, None) + linear(x, self.w_own, None))
