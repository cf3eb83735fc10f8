"""Cross entropy over a sharded vocabulary: it never holds all logits and computes nothing twice."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from model.sharding import mesh_axes, spec

# Float32 logits of a chunk: measured on 2 CPU cores, 4 to 16 MiB were equal and 64 MiB 1.3 x
# slower.
LOGITS_BYTES = {"cpu": 16 * 2**20, "accelerator": 512 * 2**20}


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def cross_entropy(
    x: Float[Array, "B T D"],
    table: Float[Array, "V D"],
    targets: Int[Array, "B T"],
    weights: Float[Array, "B T"],
    z_loss: float,
    chunk: int,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Weighted sum of the cross entropy of softmax(x table^T), and that sum with z-loss added.

    Only the second value has a gradient, with respect to `x` and `table`: it is found in the
    forward pass, about `chunk` tokens of a device at a time, so that the backward pass only scales
    it. z-loss is z_loss * log(sum(exp(logits)))^2 (PaLM,
    section 5). Float32 throughout, matmuls in the type of `x`.
    """
    nll, loss, *_ = sharded(x, table, targets, weights, z_loss, chunk, gradient=False)
    return nll, loss


def forward(x, table, targets, weights, z_loss, chunk):
    nll, loss, dx, dtable = sharded(x, table, targets, weights, z_loss, chunk, gradient=True)
    return (nll, loss), (dx, dtable)


def backward(z_loss, chunk, residuals, cotangents):
    dx, dtable = residuals
    scale = cotangents[1]
    return (dx * scale.astype(dx.dtype), dtable * scale, None, None)


cross_entropy.defvjp(forward, backward)


def sharded(x, table, targets, weights, z_loss, chunk, *, gradient) -> tuple[Array, ...]:
    """Run `local_cross_entropy` on every device's rows and its shard of the vocabulary."""
    rows, summed = mesh_axes("batch") + mesh_axes("length"), mesh_axes("embed")
    tokens = spec("batch", "length")
    hidden = spec("batch", "length", None)

    def local(x, table, targets, weights) -> tuple[Array, ...]:
        for axis in summed:
            table = jax.lax.all_gather(table, axis, axis=1, tiled=True)
        out = local_cross_entropy(x, table, targets, weights, z_loss, chunk, gradient)
        nll, loss = (jax.lax.psum(value, rows) if rows else value for value in out[:2])
        if not gradient:
            return nll, loss
        dx, dtable = out[2:]
        for axis in summed:
            dtable = jax.lax.psum_scatter(dtable, axis, scatter_dimension=1, tiled=True)
        others = tuple(axis for axis in rows if axis not in summed)
        return nll, loss, dx, jax.lax.psum(dtable, others) if others else dtable

    scalar = spec()
    return jax.shard_map(
        local,
        in_specs=(hidden, spec("vocab", "embed"), tokens, tokens),
        out_specs=(scalar, scalar, hidden, spec("vocab", "embed"))
        if gradient
        else (scalar, scalar),
        check_vma=False,
    )(x, table, targets, weights)


def local_cross_entropy(x, table, targets, weights, z_loss, chunk, gradient) -> tuple[Array, ...]:
    """The sums over this device's tokens, with their gradients if asked; reduces over `vocab`."""
    vocab = mesh_axes("vocab")
    V, D = table.shape
    tokens = weights.size
    chunk = chunk_length(tokens, chunk)
    missing = -tokens % chunk
    first = jax.lax.axis_index(vocab) * V if vocab else 0

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
        top = over_vocab(jax.lax.pmax, jnp.max(logits, axis=-1))
        exp = jnp.exp(logits - top[:, None])
        total = over_vocab(jax.lax.psum, jnp.sum(exp, axis=-1))
        hit = targets[:, None] == jnp.arange(V)
        target = over_vocab(jax.lax.psum, jnp.sum(jnp.where(hit, logits, 0.0), axis=-1))
        log_normalizer = top + jnp.log(total)
        nll = jnp.sum(weights * (log_normalizer - target))
        loss = nll + z_loss * jnp.sum(weights * jnp.square(log_normalizer))
        if not gradient:
            return (sums[0] + nll, sums[1] + loss), None
        share = weights * (1.0 + 2.0 * z_loss * log_normalizer) / total
        dlogits = exp * share[:, None] - jnp.where(hit, weights[:, None], 0.0)
        # Both products read it: without the barrier XLA's CPU backend computes it twice.
        dlogits = jax.lax.optimization_barrier(dlogits.astype(x.dtype))
        dx = over_vocab(jax.lax.psum, jnp.einsum("TV,VD->TD", dlogits, half))
        dtable = jnp.einsum("TV,TD->VD", dlogits, x, preferred_element_type=jnp.float32)
        return (sums[0] + nll, sums[1] + loss, sums[2] + dtable), dx

    zeros = [jnp.zeros((), jnp.float32)] * 2
    if gradient:
        zeros.append(jnp.zeros((V, D), jnp.float32))
    sums, dx = jax.lax.scan(step, tuple(zeros), scanned)
    if dx is None:
        return sums
    nll, loss, dtable = sums
    return nll, loss, dx.reshape(-1, D)[:tokens].reshape(x.shape), dtable


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
