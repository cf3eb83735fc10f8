"""The kernels of attention: where each runs, which masks it serves, and the choice among them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float

from data.errors import UserError
from model.attention.blocked import blocked_attention
from model.attention.mask import Mask, MaskKind
from model.attention.plain import plain_attention
from model.attention.scores import (
    Windows,
    all_scores,
    blocked_scores,
    cudnn_scores,
    splash_scores,
)
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
    biased: bool = False,
) -> str:
    """Name of the kernel for a model's masks and heads on a backend, the best one for `auto`.

    `dtype` is settled. Raises ValueError when `asked` names a kernel that the backend does not
    have, that does not take these heads, does not cap their scores, adds nothing to those that are
    biased, or does not serve one of the masks.
    """

    def refusal(name: str) -> str | None:
        kernel = kernel_named(name)
        refused = (refused_mask(name, mask) for mask in masks)
        why = kernel.refuses(backend, dtype, head_dim) or refused_scores(name, softcap, biased)
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
    bias: Float[Array, "b N T S"] | None = None,
) -> Float[Array, "B T N H"]:
    """Softmax attention of every query to the keys that `mask` lets it see, N/K queries a key head,
    of scores s or, with a `softcap` c, of c tanh(s / c), to which a `bias` is added, of each row or
    of all (b is B or 1).

    Float32 softmax. Raises ValueError when the kernel does not serve the mask, the cap or the bias.
    """
    run = kernel_named(kernel).run
    scores = refused_scores(kernel, softcap, bias is not None)
    if why := refused_mask(kernel, mask.kind) or scores:
        raise UserError(why)
    return run(q, k, v, mask, softcap, bias)


def xla(
    q: Array, k: Array, v: Array, mask: Mask, softcap: float | None, bias: Array | None
) -> Array:
    """JAX's plain attention, which keeps the scores of all queries and keys."""
    if softcap is not None or bias is not None:
        run = functools.partial(plain_attention, softcap=softcap)
        return on_device(run, q, k, v, mask.visible(), bias)
    run: Any = jax.nn.dot_product_attention
    causal, array = formula(mask)
    return run(q, k, v, mask=array, is_causal=causal, implementation="xla")


def blocked(
    q: Array, k: Array, v: Array, mask: Mask, softcap: float | None, bias: Array | None
) -> Array:
    """Blocks of queries, which skip later keys if the mask hides them all."""
    _, array = formula(mask)
    run = functools.partial(blocked_attention, skip=mask.kind.hides_later, softcap=softcap)
    return on_device(run, q, k, v, array, bias)


def cudnn(q: Array, k: Array, v: Array, mask: Mask, softcap: float | None, bias: None) -> Array:
    """cuDNN's flash attention; a mask that the row's order does not give goes in as a bias."""
    kernels: Any = jax.nn.dot_product_attention
    causal, array = formula(mask)
    run = functools.partial(kernels, is_causal=causal, implementation="cudnn")
    return on_device(run, q, k, v, array, bias)


def splash(q: Array, k: Array, v: Array, mask: Mask, softcap: float | None, bias: None) -> Array:
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
    run: Callable[..., Array],
    q: Array,
    k: Array,
    v: Array,
    mask: Bool[Array, "B 1 T S"] | None,
    bias: Float[Array, "b N T S"] | None,
) -> Array:
    """`run` per device on its own batch rows and heads, which XLA would not cut well or at all."""
    heads = spec("batch", None, "heads", None)
    layouts: dict[str, PartitionSpec] = {}
    extra: dict[str, Array] = {}
    if mask is not None:
        extra["mask"], layouts["mask"] = mask, spec("batch", None, None, None)
    if bias is not None:
        rows = "batch" if bias.shape[0] > 1 else None
        extra["bias"], layouts["bias"] = bias, spec(rows, "heads", None, None)
    return jax.shard_map(
        lambda q, k, v, extra: run(q, k, v, **{"mask": None, "bias": None, **extra}),
        in_specs=(heads, heads, heads, layouts),
        out_specs=heads,
        check_vma=False,
    )(q, k, v, extra)


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

    run: Callable[..., Array]
    """From queries [B T N H], keys and values [B S K H], a mask, a cap of scores and a bias of
    scores [B N T S] or [1 N T S] to [B T N H]."""
    caps: bool = True
    """Whether it caps scores."""
    adds: bool = True
    """Whether it adds a bias to scores."""
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
        cudnn, caps=False, adds=False, refuses=cudnn_refuses, passes=3.5, causal_share=cudnn_scores
    ),
    "splash": Kernel(
        splash,
        adds=False,
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


def refused_scores(name: str, softcap: float | None, biased: bool) -> str | None:
    """Why the kernel does not cap scores or adds nothing to them, as a message; None if it does, or
    need not."""
    kernel = kernel_named(name)
    if softcap is not None and not kernel.caps:
        return (
            f"model.attention={name} must be another kernel with "
            f"model.attention_softcap={softcap}, because it does not cap scores; try "
            "--model.attention auto"
        )
    if biased and not kernel.adds:
        return (
            f"model.attention={name} must be another kernel with model.positions=relative, because "
            "it adds nothing to scores; try --model.attention auto"
        )
    return None


def refused_mask(name: str, mask: MaskKind) -> str | None:
    """Why the kernel does not serve the mask, as a message; None if it does."""
    kernel = kernel_named(name)
    if kernel.serves(mask):
        return None
    return (
        f"model.attention={name} must have {kernel.serves_only}, and this mask is {mask}; "
        "try --model.attention auto"
    )
