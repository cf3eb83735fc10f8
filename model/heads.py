"""Heads: which hidden states are scored, and by what table."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data.errors import UserError
from model.dropout import dropout
from model.layers import Norm, linear
from model.mlp import ACTIVATIONS
from model.sharding import spec
from model.weights import Declare


class Head(nnx.Module):
    """A transform of hidden states and what scores them: a table of its own with a bias, a bias
    alone next to the table of the tokens, or nothing.

    Transforms: `tanh` is BERT's pooler, `relu` DistilBERT's; `norm` is dense, activation and norm,
    as before BERT's table of tokens.
    """

    def __init__(
        self,
        declare: Declare,
        key: PRNGKeyArray,
        D: int,
        *,
        transform: str,
        activation: str,
        norm: Norm | None,
        bias: bool,
        std: float,
        outputs: int = 0,
        vocabulary: int = 0,
        pooling: str = "",
        rate: float = 0.0,
    ):
        """`norm` is that of the transform `norm`; `bias` is of its dense layer. `outputs` are the
        rows of its own table, `vocabulary` those of the tokens' that it has a bias for; `rate` is
        that of dropout before scoring."""
        dense, table = jax.random.split(key)
        init, zeros = jax.nn.initializers.normal(std), jax.nn.initializers.zeros
        self.activation = activation if transform == "norm" else transform
        self.pooling, self.rate = pooling, rate
        shaped = transform != "none"
        fans = {"init": init, "decay": True, "fan_out": (1,)}
        self.w = declare(dense, (D, D), ("embed", None), fan_in=(0,), **fans) if shaped else None
        self.b = declare(None, (D,), (None,), init=zeros) if shaped and bias else None
        self.norm = norm
        # Few classes are not cut by `tensor`.
        self.table = declare(table, (outputs, D), (None, "embed"), **fans) if outputs else None
        scored, axis = (outputs, None) if outputs else (vocabulary, "vocab")
        self.bias = declare(None, (scored,), (axis,), init=zeros) if scored else None

    def __call__(
        self, x: Float[Array, "B P D"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "B P D"]:
        """What is scored at P places."""
        if self.w is not None:
            x = linear(x, self.w, self.b)
            x = {**ACTIVATIONS, "tanh": jnp.tanh}[self.activation](x)
            x = x if self.norm is None else self.norm(x)
        return dropout(x, self.rate, key)

    def pool(
        self, x: Float[Array, "B T D"], segment_ids: Int[Array, "B T"]
    ) -> Float[Array, "B 1 D"]:
        """What stands for each row, whose padding has segment 0."""
        real = segment_ids > 0
        if self.pooling == "mean":
            share = real / jnp.maximum(1, jnp.sum(real, axis=1, keepdims=True))
            return jnp.einsum("BTD,BT->BD", x, share.astype(x.dtype))[:, None]
        if self.pooling == "last":
            last = jnp.maximum(0, jnp.sum(real, axis=1, dtype=jnp.int32) - 1)
            return jnp.take_along_axis(x, last[:, None, None], axis=1)
        return x[:, :1]

    def logits(self, x: Float[Array, "B P D"]) -> Float[Array, "B P C"]:
        """Float32 scores by its own table."""
        if self.table is None or self.bias is None:
            raise UserError(
                "model.head must have a table of its own, because labels are scored by it; "
                "try --model.head.kind labels"
            )
        scores = jnp.einsum(
            "BPD,CD->BPC",
            x,
            self.table[...].astype(x.dtype),
            preferred_element_type=jnp.float32,
            out_sharding=spec("batch", None, None),
        )
        return scores + self.bias[None, None]
