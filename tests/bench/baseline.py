"""A training step as one would write it by hand in plain JAX: the yardstick of our own step.

GPT-2's block with an untied head: pytree of dicts, layers stacked and scanned, plain softmax
attention, plain log-softmax cross entropy, AdamW with global-norm clip. Nothing here is tuned.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from data.fields import Size

Tree = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class BaselineSizes:
    """The reference model of the CPU bars."""

    num_layers: Size = 4
    embed_dim: Size = 256
    num_heads: Size = 4
    mlp_dim: Size = 1024
    vocab_size: Size = 8192
    length: Size = 256
    batch: Size = 8


def init(sizes: BaselineSizes, key: Array) -> tuple[Tree, Tree, Tree, Array]:
    """Parameters, both AdamW moments and the step counter."""
    L, D, F, V = sizes.num_layers, sizes.embed_dim, sizes.mlp_dim, sizes.vocab_size
    keys = iter(jax.random.split(key, 7))

    def matrix(*shape: int) -> Array:
        return 0.02 * jax.random.normal(next(keys), shape)

    def norm(*shape: int) -> Tree:
        return {"scale": jnp.ones(shape), "bias": jnp.zeros(shape)}

    params = {
        "tokens": matrix(V, D),
        "positions": matrix(sizes.length, D),
        "blocks": {
            "norm1": norm(L, D),
            "qkv": {"w": matrix(L, D, 3 * D), "b": jnp.zeros((L, 3 * D))},
            "out": {"w": matrix(L, D, D), "b": jnp.zeros((L, D))},
            "norm2": norm(L, D),
            "up": {"w": matrix(L, D, F), "b": jnp.zeros((L, F))},
            "down": {"w": matrix(L, F, D), "b": jnp.zeros((L, D))},
        },
        "norm": norm(D),
        "head": matrix(D, V),
    }
    return (
        params,
        jax.tree.map(jnp.zeros_like, params),
        jax.tree.map(jnp.zeros_like, params),
        jnp.int32(0),
    )


def layer_norm(p: Tree, x: Array) -> Array:
    x = x - x.mean(-1, keepdims=True)
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]


def attention(p: Tree, x: Array, num_heads: int) -> Array:
    B, T, D = x.shape
    qkv = x @ p["qkv"]["w"] + p["qkv"]["b"]
    q, k, v = (y.reshape(B, T, num_heads, -1) for y in jnp.split(qkv, 3, -1))
    scores = jnp.einsum("BTNH,BSNH->BNTS", q, k) / math.sqrt(q.shape[-1])
    scores = jnp.where(jnp.tril(jnp.ones((T, T), bool)), scores, -jnp.inf)
    mixed = jnp.einsum("BNTS,BSNH->BTNH", jax.nn.softmax(scores), v)
    return mixed.reshape(B, T, D) @ p["out"]["w"] + p["out"]["b"]


def loss_fn(params: Tree, tokens: Array, targets: Array, num_heads: int) -> Array:
    x = params["tokens"][tokens] + params["positions"]

    def block(x: Array, p: Tree) -> tuple[Array, None]:
        x = x + attention(p, layer_norm(p["norm1"], x), num_heads)
        h = jax.nn.gelu(layer_norm(p["norm2"], x) @ p["up"]["w"] + p["up"]["b"])
        return x + h @ p["down"]["w"] + p["down"]["b"], None

    x, _ = jax.lax.scan(block, x, params["blocks"])
    logits = layer_norm(params["norm"], x) @ params["head"]
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), targets[..., None], -1)
    return -picked.mean()


def make_step(sizes: BaselineSizes) -> Any:
    """Jitted `(params, mu, nu, count), tokens, targets -> (the same, updated), loss`. Written as by
    hand, it lets ranks be promoted."""

    def step(
        state: tuple[Tree, Tree, Tree, Array], tokens: Array, targets: Array
    ) -> tuple[Any, Array]:
        params, mu, nu, count = state
        with jax.numpy_rank_promotion("allow"):
            loss, grads = jax.value_and_grad(loss_fn)(params, tokens, targets, sizes.num_heads)
        norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, 1.0 / norm), grads)
        count = count + 1
        mu = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mu, grads)
        nu = jax.tree.map(lambda v, g: 0.95 * v + 0.05 * g * g, nu, grads)

        def update(p: Array, m: Array, v: Array) -> Array:
            m, v = m / (1 - 0.9**count), v / (1 - 0.95**count)
            return p - 3e-4 * (m / (jnp.sqrt(v) + 1e-8) + 0.1 * p)

        return (jax.tree.map(update, params, mu, nu), mu, nu, count), loss

    return jax.jit(step, donate_argnums=0)
