"""Feed-forward layers: plain (Vaswani et al. 2017) and gated (SwiGLU, Shazeer 2020)."""

import functools

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from model.families.decoder_config import DecoderConfig
from model.layers import linear
from model.parametrization import matrix_std, residual_std
from model.sharding import check_divisible, next_cut, param

ACTIVATIONS = {
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
    "relu": jax.nn.relu,
}


class Mlp(nnx.Module):
    """Two matrices with a non-linearity between; a third gates it when `config.gated`."""

    def __init__(self, config: DecoderConfig, key: PRNGKeyArray):
        D, F = config.embed_dim, config.mlp_dim
        check_divisible("model.mlp_dim", F, "mlp", f"--model.mlp-dim {next_cut(F, 'mlp')}")
        self.config = config
        up, gate, down = jax.random.split(key, 3)
        init = jax.nn.initializers.normal(matrix_std(config))
        out = jax.nn.initializers.normal(residual_std(config))
        zeros = jax.nn.initializers.zeros
        declared = functools.partial(param, in_block=True)
        wide = {"decay": True, "fan_in": (0,), "fan_out": (1,)}
        self.w_up = declared(up, (D, F), ("embed", "mlp"), init=init, **wide)
        self.w_gate = (
            declared(gate, (D, F), ("embed", "mlp"), init=init, **wide) if config.gated else None
        )
        self.w_down = declared(down, (F, D), ("mlp", "embed"), init=out, **wide)
        self.b_up = declared(None, (F,), ("mlp",), init=zeros) if config.bias else None
        self.b_down = declared(None, (D,), (None,), init=zeros) if config.bias else None

    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        h = linear(x, self.w_up, self.b_up)
        if self.w_gate is None:
            h = self.activate(h)
        else:
            h = self.activate(linear(x, self.w_gate, None), h)
        return linear(h, self.w_down, self.b_down)

    def activate(
        self, x: Float[Array, "B T F"], gated: Float[Array, "B T F"] | float = 1.0
    ) -> Float[Array, "B T F"]:
        """activation(x) * gated; the backward pass keeps its inputs alone and computes it again."""
        activation = ACTIVATIONS[self.config.activation]
        return jax.checkpoint(lambda x, y: activation(x) * y, prevent_cse=False)(x, gated)
