"""Heads: which hidden states are scored, and by what table."""

from collections.abc import Callable

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
    as before BERT's table of tokens, and `normed` a norm alone.
    """

    def __init__(
        self,
        declare: Declare,
        key: PRNGKeyArray,
        D: int,
        *,
        transform: str,
        activation: str,
        norm: Callable[[], Norm],
        bias: bool,
        std: float,
        outputs: int = 0,
        vocabulary: int = 0,
        pooling: str = "",
        rate: float = 0.0,
        prefix: int = 0,
    ):
        """`norm` makes that of transforms with one; `bias` is of its dense layer. `outputs` are the
        rows of its own table, `vocabulary` those of the tokens' that it has a bias for; `rate` is
        that of dropout before scoring; of rows without padding, means leave out `prefix` tokens."""
        dense, table = jax.random.split(key)
        init, zeros = jax.nn.initializers.normal(std), jax.nn.initializers.zeros
        self.activation = activation if transform == "norm" else transform
        self.pooling, self.rate, self.prefix = pooling, rate, prefix
        D = 2 * D if pooling == "first_and_mean" else D
        shaped = transform not in ("none", "normed")
        fans = {"init": init, "decay": True, "fan_out": (1,)}
        self.w = declare(dense, (D, D), ("embed", None), fan_in=(0,), **fans) if shaped else None
        self.b = declare(None, (D,), (None,), init=zeros) if shaped and bias else None
        self.norm = norm() if transform in ("norm", "normed") else None
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
        if self.norm is not None:
            x = self.norm(x)
        return dropout(x, self.rate, key)

    def pool(
        self, x: Float[Array, "B T D"], segment_ids: Int[Array, "B T"] | None = None
    ) -> Float[Array, "B 1 _"]:
        """What stands for each row, whose padding has segment 0; without segments there is none."""
        if self.pooling == "first_and_mean":
            return jnp.concatenate([x[:, :1], self.mean(x, segment_ids)], axis=-1)
        if self.pooling == "mean":
            return self.mean(x, segment_ids)
        if segment_ids is None:
            return x[:, -1:] if self.pooling == "last" else x[:, :1]
        if self.pooling == "last":
            last = jnp.maximum(0, jnp.sum(segment_ids > 0, axis=1, dtype=jnp.int32) - 1)
            return jnp.take_along_axis(x, last[:, None, None], axis=1)
        return x[:, :1]

    def mean(
        self, x: Float[Array, "B T D"], segment_ids: Int[Array, "B T"] | None
    ) -> Float[Array, "B 1 D"]:
        """The mean of a row's tokens, or of its patches."""
        if segment_ids is None:
            return jnp.mean(x[:, self.prefix :], axis=1, keepdims=True)
        real = segment_ids > 0
        share = real / jnp.maximum(1, jnp.sum(real, axis=1, keepdims=True))
        return jnp.einsum("BTD,BT->BD", x, share.astype(x.dtype))[:, None]

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
