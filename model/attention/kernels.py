"""The kernels of attention: where each runs, which masks it serves, and the choice among them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from data.errors import UserError
from model.attention.blocked import MASKED, blocked_attention
from model.attention.mask import Mask, MaskKind
from model.attention.scores import (
    Windows,
    all_scores,
    blocked_scores,
    cudnn_scores,
    splash_scores,
)
from model.layers import softcapped
from model.sharding import spec

CUDNN_HEAD_DIM, CUDNN_HEAD_STEP = 128, 8
BEST = {"cpu": "blocked", "gpu": "cudnn", "tpu": "splash"}
"""The kernel that `auto` takes on a backend if it serves; otherwise `xla`."""


def choose_kernel(
    asked: str,
    *,
    dtype: str,
    head_dim: int,
    masks: Sequence[MaskKind],
    backend: str,
    softcap: float | None = None,
) -> str:
    """Name of the kernel for a model's masks and heads on a backend, the best one for `auto`.

    `dtype` is settled. Raises ValueError when `asked` names a kernel that the backend does not
    have, that does not take these heads, does not cap their scores or does not serve one of the
    masks.
    """

    def refusal(name: str) -> str | None:
        kernel = kernel_named(name)
        refused = (refused_mask(name, mask) for mask in masks)
        why = kernel.refuses(backend, dtype, head_dim) or refused_cap(name, softcap)
        return why or next(filter(None, refused), None)

    if asked == "auto":
        best = BEST.get(backend, "xla")
        return "xla" if refusal(best) else best
    if why := refusal(asked):
        raise UserError(why)
    return asked


def attend(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: Mask,
    kernel: str,
    softcap: float | None = None,
) -> Float[Array, "B T N H"]:
    """Softmax attention of every query to the keys that `mask` lets it see, N/K queries a key head,
    of scores s or, with a `softcap` c, of c tanh(s / c).

    Float32 softmax. Raises ValueError when the kernel does not serve the mask or the cap.
    """
    run = kernel_named(kernel).run
    if why := refused_mask(kernel, mask.kind) or refused_cap(kernel, softcap):
        raise UserError(why)
    return run(q, k, v, mask, softcap)


def xla(q: Array, k: Array, v: Array, mask: Mask, softcap: float | None) -> Array:
    """JAX's plain attention, which keeps the scores of all queries and keys."""
    if softcap is not None:
        run = functools.partial(capped_attention, softcap=softcap)
        return on_device(run, q, k, v, mask.visible())
    run: Any = jax.nn.dot_product_attention
    causal, array = formula(mask)
    return run(q, k, v, mask=array, is_causal=causal, implementation="xla")


def capped_attention(
    q: Float[Array, "B T N H"],
    k: Float[Array, "B S K H"],
    v: Float[Array, "B S K H"],
    mask: Bool[Array, "B 1 T S"],
    softcap: float,
) -> Float[Array, "B T N H"]:
    """The same by its formula, with the cap that JAX's has not."""
    B, T, _, H = q.shape
    grouped = q.reshape(B, T, k.shape[2], -1, H) * H**-0.5
    scores = jnp.einsum("BTKGH,BSKH->BKGTS", grouped, k, preferred_element_type=jnp.float32)
    scores = jnp.where(mask[:, :, None], softcapped(scores, softcap), MASKED)
    shares = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("BKGTS,BSKH->BTKGH", shares, v).reshape(q.shape)


def blocked(q: Array, k: Array, v: Array, mask: Mask, softcap: float | None) -> Array:
    """Blocks of queries, which skip later keys if the mask hides them all."""
    _, array = formula(mask)
    run = functools.partial(blocked_attention, skip=mask.kind.hides_later, softcap=softcap)
    return on_device(run, q, k, v, array)


def cudnn(q: Array, k: Array, v: Array, mask: Mask, softcap: float | None) -> Array:
    """cuDNN's flash attention; a mask that the row's order does not give goes in as a bias."""
    kernels: Any = jax.nn.dot_product_attention
    causal, array = formula(mask)
    run = functools.partial(kernels, is_causal=causal, implementation="cudnn")
    return on_device(run, q, k, v, array)


def splash(q: Array, k: Array, v: Array, mask: Mask, softcap: float | None) -> Array:
    """JAX's flash kernel for TPU, which needs no array of the mask."""
    # Pallas takes 0.2 s to import, and only a TPU needs it.
    from model.attention.splash import splash_attention

    own = mask.layer_window
    banded = None if own is None else own == mask.window
    ids = mask.queries.segment_ids
    return splash_attention(q, k, v, ids, window=mask.window, banded=banded, softcap=softcap)


def formula(mask: Mask) -> tuple[bool, Bool[Array, "B 1 T S"] | None]:
    """Whether the row's order restricts what is seen, and the array that does so otherwise."""
    return (mask.causal, None) if mask.kind.by_row else (False, mask.visible())


def on_device(
    run: Callable[..., Array], q: Array, k: Array, v: Array, mask: Bool[Array, "B 1 T S"] | None
) -> Array:
    """`run` per device on its own batch rows and heads, which XLA would not cut well or at all."""
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


def anywhere(backend: str, dtype: str, head_dim: int) -> str | None:
    """Refuses no backend, compute type or head size."""
    return None


def cudnn_refuses(backend: str, dtype: str, head_dim: int) -> str | None:
    if backend != "gpu":
        return (
            f"model.attention=cudnn must run on a GPU, because cuDNN is NVIDIA's and the backend "
            f"is {backend}; try --model.attention auto"
        )
    if dtype != "bfloat16":
        return (
            f"model.dtype={dtype} must be bfloat16 with model.attention=cudnn, because "
            "cuDNN attends in half precision only; try --model.dtype bfloat16, or "
            "--model.attention auto"
        )
    if head_dim > CUDNN_HEAD_DIM:
        return (
            f"model.head_dim={head_dim} must be at most {CUDNN_HEAD_DIM} with "
            "model.attention=cudnn, because its backward pass takes no wider heads; "
            "try --model.attention auto"
        )
    if head_dim % CUDNN_HEAD_STEP:
        return (
            f"model.head_dim={head_dim} must be a multiple of {CUDNN_HEAD_STEP} with "
            "model.attention=cudnn, because its kernels take no other heads; "
            "try --model.attention auto"
        )
    return None


def splash_refuses(backend: str, dtype: str, head_dim: int) -> str | None:
    if backend == "tpu":
        return None
    return (
        f"model.attention=splash must run on a TPU, because it is a kernel for TPU cores and "
        f"the backend is {backend}; try --model.attention auto"
    )


def every_mask(mask: MaskKind) -> bool:
    return True


class Kernel(NamedTuple):
    """One way to compute attention."""

    run: Callable[[Array, Array, Array, Mask, float | None], Array]
    """From queries [B T N H], keys and values [B S K H], a mask and a cap of scores to [B T N H].
    """
    caps: bool = True
    """Whether it caps scores."""
    serves: Callable[[MaskKind], bool] = every_mask
    serves_only: str = ""
    """The masks it serves and why no others, for a message, if those are not all."""
    refuses: Callable[[str, str, int], str | None] = anywhere
    """Why a backend, compute type and head size are not served, as a message; None if they are."""
    passes: float = 3.0
    """Forward passes that attention costs a step: one forward, two backward, and half of one each
    time that the backward pass computes the scores again."""
    keeps_scores: bool = False
    """Whether it writes scores to memory."""
    causal_share: Callable[[Windows, int, bool], float] = all_scores
    """Share of the T x T scores that it computes of causal rows of a length, which carry segment
    ids if they are packed."""


KERNELS = {
    "xla": Kernel(xla, keeps_scores=True),
    "blocked": Kernel(blocked, passes=3.5, keeps_scores=True, causal_share=blocked_scores),
    "cudnn": Kernel(
        cudnn, caps=False, refuses=cudnn_refuses, passes=3.5, causal_share=cudnn_scores
    ),
    "splash": Kernel(
        splash,
        serves=lambda mask: mask.hides_later,
        serves_only="a causal mask of a row's own tokens without a prefix, because it skips the "
        "blocks of keys that are later",
        refuses=splash_refuses,
        # The backward pass computes scores for the gradients of queries and of keys, and the
        # gradient of the probabilities twice.
        passes=4.5,
        causal_share=splash_scores,
    ),
}


def kernel_named(name: str) -> Kernel:
    """The kernel of that name; raises ValueError if there is none."""
    if name not in KERNELS:
        raise UserError(
            f"model.attention={name} must be one of {', '.join(KERNELS)}, because those are the "
            "kernels there are, and auto must be settled before a model is built; "
            "try --model.attention xla"
        )
    return KERNELS[name]


def refused_cap(name: str, softcap: float | None) -> str | None:
    """Why the kernel does not cap scores, as a message; None if it does, or need not."""
    if softcap is None or kernel_named(name).caps:
        return None
    return (
        f"model.attention={name} must be another kernel with model.attention_softcap={softcap}, "
        "because it does not cap scores; try --model.attention auto"
    )


def refused_mask(name: str, mask: MaskKind) -> str | None:
    """Why the kernel does not serve the mask, as a message; None if it does."""
    kernel = kernel_named(name)
    if kernel.serves(mask):
        return None
    return (
        f"model.attention={name} must have {kernel.serves_only}, and this mask is {mask}; "
        "try --model.attention auto"
    )
