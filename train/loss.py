"""Cross entropy over a sharded vocabulary: it never holds all logits and computes nothing twice."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

from data.errors import UserError
from model.families.family import Scoring
from model.layers import softcapped

PLAIN = Scoring()
NOWHERE = -1e30
"""Score of what cannot be chosen."""
# Float32 logits of a chunk: measured on 2 CPU cores, 4 to 16 MiB were equal and 64 MiB 1.3 x
# slower.
LOGITS_BYTES = {"cpu": 16 * 2**20, "accelerator": 512 * 2**20}


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5, 7, 8))
def cross_entropy(
    x: Float[Array, "*rows D"],
    table: Float[Array, "V D"],
    targets: Int[Array, "*rows"],
    weights: Float[Array, "*rows"],
    z_loss: float,
    chunk: int,
    bias: Float[Array, "V"] | None = None,
    scoring: Scoring = PLAIN,
    smoothing: float = 0.0,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Weighted sum of the cross entropy of softmax(x table^T + bias), and that sum with its targets
    smoothed and z-loss added; `scoring` may cap the scores, and leave out rows that pad the table.

    Only the second value has a gradient, with respect to `x`, `table` and `bias`: it is found in
    the forward pass, about `chunk` tokens of a device at a time, so that the backward pass only
    scales it. z-loss is z_loss * log(sum(exp(logits)))^2 (PaLM, section 5). Of a smoothed target
    the share `smoothing` is spread evenly over all rows that do not pad the table (Szegedy et al.
    2015, section 7). Float32 throughout, matmuls in the type of `x`.

    How the work is cut is read off the types of `x` and `table`: rows may be cut over any
    dimension, the table over V and D. ValueError if the two cannot be put together.
    """
    arguments = (x, table, targets, weights, z_loss, chunk, bias, scoring, smoothing)
    nll, loss, *_ = sharded(*arguments, gradient=False)
    return nll, loss


def hits(
    x: Float[Array, "*rows D"],
    table: Float[Array, "V D"],
    targets: Int[Array, "*rows"],
    weights: Float[Array, "*rows"],
    chunk: int,
    bias: Float[Array, "V"] | None = None,
    scoring: Scoring = PLAIN,
) -> Float[Array, ""]:
    """Weighted count of the targets that no other row of the table scores above."""
    return sharded(x, table, targets, weights, 0.0, chunk, bias, scoring, 0.0, gradient=False)[2]


def forward(x, table, targets, weights, z_loss, chunk, bias, scoring, smoothing):
    arguments = (x, table, targets, weights, z_loss, chunk, bias, scoring, smoothing)
    nll, loss, *grads = sharded(*arguments, gradient=True)
    return (nll, loss), grads


def backward(z_loss, chunk, scoring, smoothing, residuals, cotangents):
    scale = cotangents[1]
    dx, dtable, *dbias = (grad * scale.astype(grad.dtype) for grad in residuals)
    return (dx, dtable, None, None, dbias[0] if dbias else None)


cross_entropy.defvjp(forward, backward)


class Cuts(NamedTuple):
    """Mesh axes that cut the arguments of the loss."""

    rows: tuple[str, ...]
    vocab: tuple[str, ...]
    """Of the table's rows."""
    embed: tuple[str, ...]
    """Of the table's columns, which are gathered."""


def cuts_of(hidden: PartitionSpec, table: PartitionSpec) -> Cuts:
    """The mesh axes of the layouts of hidden states and table; ValueError if they do not fit."""
    cuts = Cuts(_axes(*hidden[:-1]), *map(_axes, table))
    if _axes(hidden[-1]) or set(cuts.rows) & set(cuts.vocab) or not set(cuts.embed) <= {*cuts.rows}:
        raise UserError(
            f"layouts of hidden states={hidden} and output table={table} must fit together, "
            "because each device scores its own rows with its part of the table: the hidden states "
            "must be whole along D, the table's rows be cut by axes that do not cut the hidden "
            "states, and its columns only by axes that do; try the table's axes "
            "('vocab', 'embed') or (None, 'embed')"
        )
    return cuts


def axes_size(axes: tuple[str, ...]) -> int:
    """Shards that mesh axes make together."""
    return math.prod(jax.sharding.get_abstract_mesh().shape[axis] for axis in axes)


def _axes(*entries: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """Mesh axes of entries of a PartitionSpec."""
    parts = ((entry,) if isinstance(entry, str) else entry or () for entry in entries)
    return tuple(axis for part in parts for axis in part)


def sharded(
    x, table, targets, weights, z_loss, chunk, bias, scoring, smoothing, *, gradient
) -> tuple[Array, ...]:
    """Run `local_cross_entropy` on every device's rows and its shard of the vocabulary."""
    hidden, matrix = jax.typeof(x).sharding.spec, jax.typeof(table).sharding.spec
    cuts = cuts_of(hidden, matrix)
    rows, vocab = PartitionSpec(*hidden[:-1]), PartitionSpec(matrix[0])

    def local(x, table, targets, weights, *bias) -> tuple[Array, ...]:
        for axis in cuts.embed:
            table = jax.lax.all_gather(table, axis, axis=1, tiled=True)
        out = local_cross_entropy(
            x, table, targets, weights, z_loss, chunk, bias, scoring, smoothing, cuts, gradient
        )
        count = 2 if gradient else 3
        sums = [jax.lax.psum(v, cuts.rows) if cuts.rows else v for v in out[:count]]
        if not gradient:
            return tuple(sums)
        dx, dtable, *dbias = out[2:]
        for axis in cuts.embed:
            dtable = jax.lax.psum_scatter(dtable, axis, scatter_dimension=1, tiled=True)
        others = tuple(axis for axis in cuts.rows if axis not in cuts.embed)
        dtable = jax.lax.psum(dtable, others) if others else dtable
        dbias = [jax.lax.psum(grad, cuts.rows) if cuts.rows else grad for grad in dbias]
        return *sums, dx, dtable, *dbias

    biases = () if bias is None else (bias,)
    scalar, layouts = PartitionSpec(), (vocab,) * len(biases)
    return jax.shard_map(
        local,
        in_specs=(hidden, matrix, rows, rows, *layouts),
        out_specs=(scalar, scalar, hidden, matrix, *layouts) if gradient else (scalar,) * 3,
        check_vma=False,
    )(x, table, targets, weights, *biases)


def local_cross_entropy(
    x, table, targets, weights, z_loss, chunk, bias, scoring, smoothing, cuts, gradient
) -> tuple[Array, ...]:
    """The sums over this device's tokens, with their gradients if asked, that of a bias if there is
    one, else with the weight of the targets that score highest; reduces over `cuts.vocab`."""
    vocab = cuts.vocab
    V, D = table.shape
    tokens = weights.size
    chunk = chunk_length(tokens, chunk)
    missing = -tokens % chunk
    first = jax.lax.axis_index(vocab) * V if vocab else 0
    rows = V * axes_size(vocab)
    classes = rows if scoring.vocabulary is None else scoring.vocabulary
    padded, cap, even = classes < rows, scoring.softcap, smoothing / classes

    def cut(values: Array) -> Array:
        """Chunks of the flat values, the last one filled with zeros: with tokens of weight 0."""
        filled = jnp.pad(values, ((0, missing), *[(0, 0)] * (values.ndim - 1)))
        return filled.reshape(-1, chunk, *values.shape[1:])

    scanned = (
        cut(x.reshape(tokens, D)),
        cut(targets.reshape(-1) - first),
        cut(weights.reshape(-1)),
    )
    half = table.astype(x.dtype)

    def over_vocab(reduce, value):
        return reduce(value, vocab) if vocab else value

    def step(sums: tuple[Array, ...], part) -> tuple[tuple[Array, ...], Array | None]:
        x, targets, weights = part
        logits = jnp.einsum("TD,VD->TV", x, half, preferred_element_type=jnp.float32)
        for row in bias:
            logits = logits + row[None]
        logits = capped = softcapped(logits, cap)
        real = (first + jnp.arange(V) < classes)[None]
        if padded:
            logits = jnp.where(real, logits, NOWHERE)
        top = over_vocab(jax.lax.pmax, jnp.max(logits, axis=-1))
        exp = jnp.exp(logits - top[:, None])
        total = over_vocab(jax.lax.psum, jnp.sum(exp, axis=-1))
        own = targets[:, None] == jnp.arange(V)[None]
        target = over_vocab(jax.lax.psum, jnp.sum(jnp.where(own, logits, 0.0), axis=-1))
        log_normalizer = top + jnp.log(total)
        nll = jnp.sum(weights * (log_normalizer - target))
        loss = nll + z_loss * jnp.sum(weights * jnp.square(log_normalizer))
        if smoothing:
            every = over_vocab(jax.lax.psum, jnp.sum(jnp.where(real, logits, 0.0), axis=-1))
            loss += jnp.sum(weights * (smoothing * target - even * every))
        if not gradient:
            hit = jnp.sum(weights * (target >= top))
            return (sums[0] + nll, sums[1] + loss, sums[2] + hit), None
        share = weights * (1.0 + 2.0 * z_loss * log_normalizer) / total
        dlogits = exp * share[:, None] - jnp.where(own, (1 - smoothing) * weights[:, None], 0.0)
        if smoothing:
            dlogits -= jnp.where(real, even * weights[:, None], 0.0)
        if cap is not None:
            dlogits *= 1 - jnp.square(capped / cap)
        # Both products read it: without the barrier XLA's CPU backend computes it twice.
        dlogits = jax.lax.optimization_barrier(dlogits.astype(x.dtype))
        dx = over_vocab(jax.lax.psum, jnp.einsum("TV,VD->TD", dlogits, half))
        dtable = jnp.einsum("TV,TD->VD", dlogits, x, preferred_element_type=jnp.float32)
        grads = [dtable, *(jnp.sum(dlogits, axis=0, dtype=jnp.float32) for _ in bias)]
        totals = (total + grad for total, grad in zip(sums[2:], grads, strict=True))
        return (sums[0] + nll, sums[1] + loss, *totals), dx

    zeros = [jnp.zeros((), jnp.float32)] * (2 if gradient else 3)
    if gradient:
        zeros += [jnp.zeros((V, D), jnp.float32), *(jnp.zeros(V, jnp.float32) for _ in bias)]
    sums, dx = jax.lax.scan(step, tuple(zeros), scanned)
    if dx is None:
        return sums
    nll, loss, *grads = sums
    return nll, loss, dx.reshape(-1, D)[:tokens].reshape(x.shape), *grads


def chunk_length(tokens: int, wanted: int) -> int:
    """Length of the fewest chunks of at most `wanted` tokens: so the least is padded."""
    return -(-tokens // -(-tokens // wanted))


def choose_chunk(vocabulary: int, backend: str) -> int:
    """Tokens whose logits exist at a time: on CPU, as many as stay in its cache; elsewhere a power
    of two.

    Matrices of odd sizes are cut badly into a TPU's tiles: for gpt3-175b on 512 v5p chips its
    compiler took 349 s of CPU and 6.5 GiB with chunks of 2,341 tokens, 53 s and 1.5 GiB with 2,048.
    """
    size = LOGITS_BYTES.get(backend, LOGITS_BYTES["accelerator"])
    tokens = max(1, size // (4 * vocabulary))
    return tokens if backend == "cpu" else 2 ** (tokens.bit_length() - 1)
