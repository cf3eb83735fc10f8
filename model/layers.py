"""Norms, the token embedding (lookup and tied logits) and positional encodings."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int, PRNGKeyArray

from model.sharding import mesh_axes, spec
from model.weights import Declare


def linear(
    x: Float[Array, "B T *inputs"], w: nnx.Param[Array], b: nnx.Param[Array] | None
) -> Float[Array, "B T *outputs"]:
    """x w + b over the dimensions `w` declares as fan-in, in the type of `x`.

    It is one product of two matrices, because XLA's CPU backend copies transposed activations to
    find the gradient of a weight that meets more than two dimensions (1.2 x on a whole step).
    """
    B, T = x.shape[:2]
    n = len(w.get_metadata("fan_in"))
    logical = w.get_metadata("logical")
    summed, produced = logical[0], logical[n:]
    inputs, outputs = math.prod(w.shape[:n]), w.shape[n:]
    columns = [None if axis == "embed" else axis for axis in (summed, *produced)]
    rows = jax.lax.reshape(x, (B * T, inputs), out_sharding=spec("batch", columns[0]))
    matrix = jax.lax.reshape(
        w[...].astype(x.dtype), (inputs, math.prod(outputs)), out_sharding=spec(summed, produced[0])
    )
    y = jnp.dot(rows, matrix, out_sharding=spec("batch", columns[1]))
    if b is not None:
        bias = b[...].astype(x.dtype)
        y = y + jax.lax.reshape(bias, (1, bias.size), out_sharding=spec(None, columns[1]))
    return jax.lax.reshape(y, (B, T, *outputs), out_sharding=spec("batch", None, *columns[1:]))


class Norm(nnx.Module):
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang & Sennrich 2019), computed in float32."""

    def __init__(
        self,
        declare: Declare,
        shape: tuple[int, ...],
        logical: tuple[str | None, ...] = (None,),
        *,
        centred: bool,
        bias: bool,
        epsilon: float,
        offset: float = 0.0,
    ):
        """`shape` are the last dimensions, which are normed together, and `logical` their axes.
        `centred` is LayerNorm, which alone has a bias; epsilon is added to the variance, `offset`
        to the scale."""
        self.centred, self.epsilon, self.offset = centred, epsilon, offset
        self.dimensions = len(shape)
        zeros, begin = jax.nn.initializers.zeros, jax.nn.initializers.constant(1.0 - offset)
        self.scale = declare(None, shape, logical, init=begin)
        self.bias = declare(None, shape, logical, init=zeros) if centred and bias else None

    def __call__(self, x: Float[Array, "B T *normed"]) -> Float[Array, "B T *normed"]:
        """Normed over the last dimensions: of the residual stream, of each head or of all."""
        normed = tuple(range(-self.dimensions, 0))
        y, before = x.astype(jnp.float32), (None,) * (x.ndim - self.dimensions)
        if self.centred:
            y = y - jnp.mean(y, axis=normed, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(jnp.square(y), axis=normed, keepdims=True) + self.epsilon)
        scale = self.scale[...] + self.offset if self.offset else self.scale[...]
        y = y * scale[before]
        if self.bias is not None:
            y = y + self.bias[before]
        return y.astype(x.dtype)


class Embedding(nnx.Module):
    """A table of token vectors: looked up at the input and, when tied, the output projection."""

    def __init__(self, declare: Declare, key: PRNGKeyArray, V: int, D: int, *, std: float):
        self.table = declare(
            key,
            (V, D),
            ("vocab", "embed"),
            init=jax.nn.initializers.normal(std),
            decay=True,
            fan_out=(1,),
        )

    def lookup(self, tokens: Int[Array, "B T"], dtype: jnp.dtype) -> Float[Array, "B T D"]:
        """Rows of the table, in `dtype`.

        Each device gathers from its own shard of the vocabulary and the shards are added, because a
        plain gather from a sharded table makes XLA replicate the table.
        """
        table = self.table[...]
        vocab, embed = mesh_axes("vocab"), mesh_axes("embed")
        if not vocab and not embed:
            rows = table.at[tokens].get(out_sharding=spec("batch", "length", None))
            return rows.astype(dtype)

        def local(tokens: Int[Array, "b t"], table: Float[Array, "v d"]) -> Float[Array, "b t D"]:
            for axis in embed:
                table = jax.lax.all_gather(table.astype(dtype), axis, axis=1, tiled=True)
            if not vocab:
                return table[tokens].astype(dtype)
            first = jax.lax.axis_index(vocab) * table.shape[0]
            own = (tokens >= first) & (tokens < first + table.shape[0])
            rows = table[jnp.where(own, tokens - first, 0)].astype(dtype)
            return jax.lax.psum(jnp.where(own[..., None], rows, 0), vocab)

        return jax.shard_map(
            local,
            in_specs=(spec("batch", "length"), spec("vocab", "embed")),
            out_specs=spec("batch", "length", None),
        )(tokens, table)


class WholeTable(nnx.Module):
    """A table that every device has whole: of learned positions (GPT-2), of token types (BERT)."""

    def __init__(self, declare: Declare, key: PRNGKeyArray, length: int, D: int, *, std: float):
        self.table = declare(
            key,
            (length, D),
            (None, None),
            init=jax.nn.initializers.normal(std),
            decay=True,
            fan_out=(1,),
        )

    def __call__(self, places: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        return self.table[...].at[places].get(out_sharding=spec("batch", "length", None))


def sinusoidal(positions: Int[Array, "B T"], D: int) -> Float[Array, "B T D"]:
    """Fixed encoding of Vaswani et al. 2017, section 3.5: sines in even, cosines in odd
    channels."""
    rate = jnp.exp(jnp.arange(0, D, 2) * (-math.log(10_000.0) / D))
    angle = positions[:, :, None].astype(jnp.float32) * rate[None, None]
    pairs = jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    return pairs.reshape(*positions.shape, D)


def row_positions(tokens: Int[Array, "B T"]) -> Int[Array, "B T"]:
    """Positions 0..T-1 in every row, laid out as the tokens are."""
    B, T = tokens.shape
    return jax.lax.broadcasted_iota(jnp.int32, (B, T), 1, out_sharding=batch_rows())


def batch_rows() -> PartitionSpec:
    """Spec of a [B, T] array of the batch."""
    return spec("batch", "length")


def scaled(x: Float[Array, "*shape"], factor: float) -> Float[Array, "*shape"]:
    """x * factor in the type of `x`; x itself if the factor is 1."""
    return x if factor == 1 else (x.astype(jnp.float32) * factor).astype(x.dtype)


def softcapped(x: Float[Array, "*shape"], cap: float | None) -> Float[Array, "*shape"]:
    """cap tanh(x / cap), which keeps scores between -cap and cap (Gemma 2); x itself without."""
    return x if cap is None else cap * jnp.tanh(x / cap)
