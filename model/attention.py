"""Self-attention with grouped heads; masks from positions and segments; the kernel is chosen
aloud."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from model.blocked import blocked_attention
from model.families.decoder_config import DecoderConfig
from model.layers import linear, rope_rates, rotate, scaled
from model.sharding import axis_size, check_divisible, next_cut, spec
from model.weights import Declare

CUDNN_HEAD_DIM = 128


class Context(NamedTuple):
    """Where the tokens of a row stand. None of `segment_ids` means one document fills the row."""

    positions: Int[Array, "B T"]
    segment_ids: Int[Array, "B T"] | None


class Keys(NamedTuple):
    """Keys and values of one layer."""

    k: Float[Array, "B S K H"]
    v: Float[Array, "B S K H"]


class Cache(NamedTuple):
    """What decoding knows of earlier tokens: one layer's keys, all slots' places, the next slot."""

    keys: Keys
    context: Context
    start: Int[Array, ""]


def choose_kernel(config: DecoderConfig, backend: str) -> str:
    """Name of the attention kernel that serves `config` on the backend.

    `config.dtype` is settled. Raises ValueError when config.attention asks for a kernel that the
    backend does not have or that does not take these heads.
    """
    if config.attention == "cudnn" and backend != "gpu":
        raise ValueError(
            f"model.attention=cudnn must run on a GPU, because cuDNN is NVIDIA's and the backend "
            f"is {backend}; try --model.attention auto"
        )
    if config.attention == "splash" and backend != "tpu":
        raise ValueError(
            f"model.attention=splash must run on a TPU, because it is a kernel for TPU cores and "
            f"the backend is {backend}; try --model.attention auto"
        )
    half, narrow = config.dtype == "bfloat16", config.head_dim <= CUDNN_HEAD_DIM
    if config.attention == "cudnn" and not half:
        raise ValueError(
            f"model.dtype={config.dtype} must be bfloat16 with model.attention=cudnn, because "
            "cuDNN attends in half precision only; try --model.dtype bfloat16, or "
            "--model.attention auto"
        )
    if config.attention == "cudnn" and not narrow:
        raise ValueError(
            f"model.head_dim={config.head_dim} must be at most {CUDNN_HEAD_DIM} with "
            "model.attention=cudnn, because its backward pass takes no wider heads; "
            "try --model.attention auto"
        )
    if config.attention != "auto":
        return config.attention
    best = {"cpu": "blocked", "tpu": "splash", "gpu": "cudnn" if half and narrow else "xla"}
    return best.get(backend, "xla")


def visible(
    queries: Context, keys: Context, window: Int[Array, ""] | int | None
) -> Bool[Array, "B 1 T S"]:
    """Which keys each query sees: same document, not later, and inside the window if there is
    one."""
    distance = queries.positions[:, :, None] - keys.positions[:, None, :]
    mask = distance >= 0
    if window is not None:
        mask &= distance < window
    if queries.segment_ids is not None and keys.segment_ids is not None:
        mask &= queries.segment_ids[:, :, None] == keys.segment_ids[:, None, :]
    return mask[:, None]


def attend(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: Bool[Array, "B 1 T S"] | None,
    *,
    causal: bool,
    kernel: str,
) -> Float[Array, "B T N H"]:
    """Softmax attention with N/K queries a key head; `mask` and `causal` both restrict what is
    seen.

    `blocked` and `cudnn` run per device on their own batch rows and heads: XLA would not cut the
    one well and cannot cut the other.
    """
    kernels: Any = jax.nn.dot_product_attention
    run = functools.partial(kernels, is_causal=causal, implementation=kernel)
    if kernel == "xla":
        return run(q, k, v, mask=mask)
    if kernel == "blocked":
        assert causal or mask is not None, "blocked attention is causal"
        run = blocked_attention
    heads = spec("batch", None, "heads", None)
    if mask is None:
        return jax.shard_map(
            lambda q, k, v: run(q, k, v, mask=None),
            in_specs=heads,
            out_specs=heads,
            check_vma=False,
        )(q, k, v)
    return jax.shard_map(
        lambda q, k, v, mask: run(q, k, v, mask=mask),
        in_specs=(heads, heads, heads, spec("batch", None, None, None)),
        out_specs=heads,
        check_vma=False,
    )(q, k, v, mask)


class Attention(nnx.Module):
    """Multi-head (Vaswani et al. 2017), grouped (Ainslie et al. 2023) or multi-query attention."""

    def __init__(self, declare: Declare, config: DecoderConfig, key: PRNGKeyArray):
        D, N, K, H = config.embed_dim, config.num_heads, config.num_kv_heads, config.head_dim
        check_divisible(
            "model.num_heads", N, "heads", f"--model.num-heads {next_cut(N, 'heads', K)}"
        )
        self.config = config
        kv = "kv_heads" if K % axis_size("kv_heads") == 0 else None
        keys = jax.random.split(key, 4)
        init = jax.nn.initializers.normal(config.matrix_std)
        out = jax.nn.initializers.normal(config.residual_std)
        wide = {"init": init, "decay": True, "fan_in": (0,), "fan_out": (1, 2)}
        self.w_q = declare(keys[0], (D, N, H), ("embed", "heads", None), **wide)
        self.w_k = declare(keys[1], (D, K, H), ("embed", kv, None), **wide)
        self.w_v = declare(keys[2], (D, K, H), ("embed", kv, None), **wide)
        self.w_o = declare(
            keys[3],
            (N, H, D),
            ("heads", None, "embed"),
            init=out,
            decay=True,
            fan_in=(0, 1),
            fan_out=(2,),
        )
        zero = functools.partial(declare, None, init=jax.nn.initializers.zeros)
        self.b_q = zero((N, H), ("heads", None)) if config.bias else None
        self.b_k = zero((K, H), (kv, None)) if config.bias else None
        self.b_v = zero((K, H), (kv, None)) if config.bias else None
        self.b_o = zero((D,), (None,)) if config.bias else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        context: Context,
        window: Int[Array, ""] | None = None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """Attend within `x`, or to the cache with `x` written into it; returns the keys attended
        to.

        Decoding always runs the `xla` kernel, whose masks know no restrictions of length.
        """
        q = scaled(linear(x, self.w_q, self.b_q), self.config.scaling.query)
        k = linear(x, self.w_k, self.b_k)
        v = linear(x, self.w_v, self.b_v)
        if self.config.positions == "rotary":
            rates = rope_rates(
                self.config.head_dim, self.config.rope_theta, self.config.rope_scaling_factor
            )
            q, k = rotate(q, context.positions, rates), rotate(k, context.positions, rates)
        kernel = self.config.attention if cache is None else "xla"
        if kernel == "splash":
            y = self.splash(q, k, v, context.segment_ids, window)
            return linear(y, self.w_o, self.b_o), Keys(k, v)
        seen, causal = context, False
        if cache is not None:
            k = jax.lax.dynamic_update_slice_in_dim(cache.keys.k, k, cache.start, axis=1)
            v = jax.lax.dynamic_update_slice_in_dim(cache.keys.v, v, cache.start, axis=1)
            seen = cache.context
        elif context.segment_ids is None and window is None:
            causal = True
        mask = None if causal else visible(context, seen, window)
        kept = Keys(k, v)
        y = attend(q, self.per_shard(k), self.per_shard(v), mask, causal=causal, kernel=kernel)
        return linear(y, self.w_o, self.b_o), kept

    def splash(
        self,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K H"],
        segment_ids: Int[Array, "B T"] | None,
        window: Int[Array, ""] | None,
    ) -> Float[Array, "B T N H"]:
        """What this layer's queries attend to, by the kernel that needs no mask array."""
        # Pallas takes 0.2 s to import, and only a TPU needs it.
        from model.splash import splash_attention

        mixed = window is not None and self.config.window_layers == "alternate"
        return splash_attention(
            q,
            self.per_shard(k),
            self.per_shard(v),
            segment_ids,
            window=self.config.window,
            banded=window == self.config.window if mixed else None,
        )

    def per_shard(self, k: Float[Array, "B S K H"]) -> Float[Array, "B S _ H"]:
        """Keys or values with one head for every query head if the heads' shards cannot share
        them."""
        K, N = self.config.num_kv_heads, self.config.num_heads
        if K % axis_size("kv_heads") == 0:
            return k
        return jax.sharding.reshard(
            jnp.repeat(k, N // K, axis=2), spec("batch", None, "heads", None)
        )
