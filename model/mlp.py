"""Feed-forward layers: plain (Vaswani et al. 2017) and gated (SwiGLU, Shazeer 2020)."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from model.layers import linear
from model.weights import Declare

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
}


class Mlp(nnx.Module):
    """Two matrices with a non-linearity between; a third gates it when `gated`."""

    def __init__(
        self,
        declare: Declare,
        key: PRNGKeyArray,
        D: int,
        F: int,
        *,
        activation: str,
        gated: bool,
        bias: bool,
        std: float,
        residual_std: float,
        gate_bias: bool = False,
    ):
        """`residual_std` is the standard deviation of what writes to the residual stream, `std`
        that of the other matrices; `gate_bias` says whether what gates has a bias too."""
        self.activation = activation
        up, gate, down = jax.random.split(key, 3)
        init = jax.nn.initializers.normal(std)
        out = jax.nn.initializers.normal(residual_std)
        zeros = jax.nn.initializers.zeros
        wide = {"decay": True, "fan_in": (0,), "fan_out": (1,)}
        self.w_up = declare(up, (D, F), ("embed", "mlp"), init=init, **wide)
        self.w_gate = declare(gate, (D, F), ("embed", "mlp"), init=init, **wide) if gated else None
        self.w_down = declare(down, (F, D), ("mlp", "embed"), init=out, **wide)
        self.b_up = declare(None, (F,), ("mlp",), init=zeros) if bias else None
        self.b_gate = declare(None, (F,), ("mlp",), init=zeros) if gate_bias else None
        self.b_down = declare(None, (D,), (None,), init=zeros) if bias else None

    def __call__(
        self, x: Float[Array, "B *places D"], multiply: Callable[..., Array] = linear
    ) -> Float[Array, "B *places D"]:
        """`multiply` computes x w + b at each place."""
        h = multiply(x, self.w_up, self.b_up)
        if self.w_gate is None:
            h = self.activate(h)
        else:
            h = self.activate(multiply(x, self.w_gate, self.b_gate), h)
        return multiply(h, self.w_down, self.b_down)

    def activate(
        self, x: Float[Array, "B *places F"], gated: Float[Array, "B *places F"] | float = 1.0
    ) -> Float[Array, "B *places F"]:
        """activation(x) * gated; the backward pass keeps its inputs alone and computes it again."""
        activation = ACTIVATIONS[self.activation]
        return jax.checkpoint(lambda x, y: activation(x) * y, prevent_cse=False)(x, gated)
