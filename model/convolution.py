"""Convolutions over the places of images [B, H, W, C] or series [B, T, C].

No mesh axis cuts places; `tensor` cuts the channels that a convolution produces."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from model.layers import linear
from model.sharding import spec
from model.weights import Declare

LETTERS = "HW"
"""Dimensions of places, as XLA calls them."""
FEW = 16
"""Fewer channels than this, such as those of an image, are not cut by `fsdp`."""


class SlidingWindow(NamedTuple):
    """What a place of the output sees, the same along each of one or two dimensions."""

    dimensions: int
    size: int
    stride: int = 1
    padding: str = "centred"
    """Zeros around: `centred` as many on both sides, a missing one at the end (PyTorch's), `ends`
    as few as there must be, the odd one at the end (TensorFlow's `SAME`), or `none`."""

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.size,) * self.dimensions

    @property
    def strides(self) -> tuple[int, ...]:
        return (self.stride,) * self.dimensions

    def pads(self, places: Sequence[int]) -> list[tuple[int, int]]:
        """Zeros before and after each dimension of so many places."""
        return [self._pad(length) for length in places]

    def _pad(self, length: int) -> tuple[int, int]:
        if self.padding == "none":
            return 0, 0
        if self.padding == "centred":
            return (self.size - 1) // 2, self.size // 2
        total = max(0, (-(-length // self.stride) - 1) * self.stride + self.size - length)
        return total // 2, total - total // 2


class Convolution(nnx.Module):
    """A convolution from I to O channels (LeCun et al. 1989)."""

    def __init__(
        self,
        declare: Declare,
        key: PRNGKeyArray,
        inputs: int,
        outputs: int,
        window: SlidingWindow,
        *,
        backend: str,
        bias: bool = False,
    ):
        """`backend` is whose way of computing it is taken."""
        n, self.window, self.backend = window.dimensions, window, backend
        fans = tuple(range(n + 1))
        self.w = declare(
            key,
            (inputs, *window.sizes, outputs),
            ("embed" if inputs >= FEW else None, *(None,) * n, "mlp"),
            init=he(inputs * math.prod(window.sizes)),
            decay=True,
            fan_in=fans,
            fan_out=(n + 1,),
            window=fans[1:],
        )
        zeros = jax.nn.initializers.zeros
        self.b = declare(None, (outputs,), ("mlp",), init=zeros) if bias else None

    def __call__(self, x: Float[Array, "B *places I"]) -> Float[Array, "B *out O"]:
        window = self.window
        if window.size == 1 and self.backend != "tpu":
            x = x if window.stride == 1 else every(x, window.stride)
            return whole(at_each_place(x, self.w, self.b, self.backend))
        y = convolved(x, self.w[...].astype(x.dtype), window, "mlp")
        if self.b is not None:
            y = y + along_channels(self.b[...].astype(x.dtype), y)
        return whole(y)


class Depthwise(nnx.Module):
    """A convolution of each channel by itself: by XLA's, or on CPUs, for which XLA has no kernel of
    it, as a sum of shifted inputs, each times a row of the weight."""

    def __init__(
        self,
        declare: Declare,
        key: PRNGKeyArray,
        channels: int,
        window: SlidingWindow,
        *,
        backend: str,
        bias: bool = False,
    ):
        """`backend` is whose way of computing it is taken."""
        n, self.window, self.backend = window.dimensions, window, backend
        self.w = declare(
            key,
            (*window.sizes, channels),
            (None,) * (n + 1),
            init=he(math.prod(window.sizes)),
            decay=True,
            fan_in=tuple(range(n)),
            fan_out=(n,),
            window=tuple(range(n)),
        )
        zeros = jax.nn.initializers.zeros
        self.b = declare(None, (channels,), (None,), init=zeros) if bias else None

    def __call__(self, x: Float[Array, "B *places C"]) -> Float[Array, "B *out C"]:
        w = self.w[...].astype(x.dtype)
        y: Array
        if self.backend == "cpu":
            y = by_taps(x, w, self.window)
        else:
            y = convolved(x, w[None], self.window, None, groups=w.shape[-1])
        return y if self.b is None else y + along_channels(self.b[...].astype(x.dtype), y)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def by_taps(
    x: Float[Array, "B *places C"], w: Float[Array, "*window C"], window: SlidingWindow
) -> Float[Array, "B *out C"]:
    """A depthwise convolution as a sum of shifted inputs, each times a row of the weight.

    Its gradients are written out, as XLA's CPU backend takes 7 to 10 x longer for those it derives:
    that of `x` is a sum of shifted inputs again, and that of `w` reads its operands once for all
    taps of a row of the window.
    """
    padded = jnp.pad(x, [(0, 0), *window.pads(x.shape[1:-1]), (0, 0)])
    return sum_of_taps(padded, w, window.stride)


def _forward(x: Array, w: Array, window: SlidingWindow) -> tuple[Array, tuple[Array, Array]]:
    return by_taps(x, w, window), (x, w)


def _backward(window: SlidingWindow, saved: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = saved
    places, pads, n = x.shape[1:-1], window.pads(x.shape[1:-1]), window.dimensions
    around = [(0, 0, 0)]
    for length, out, (before, _) in zip(places, dy.shape[1:-1], pads, strict=True):
        spread = (out - 1) * window.stride + 1
        around.append((window.size - 1 - before, length + before - spread, window.stride - 1))
    apart = jax.lax.pad(dy, jnp.zeros((), dy.dtype), [*around, (0, 0, 0)])
    dx = sum_of_taps(apart, jnp.flip(w, range(n)), 1)

    padded = jnp.pad(x, [(0, 0), *pads, (0, 0)]).astype(jnp.float32)
    rows = []
    for row in itertools.product(range(window.size), repeat=n - 1):
        taps = ((*row, last) for last in range(window.size))
        parts = [shifted(padded, tap, dy.shape[1:-1], window.stride) * dy for tap in taps]
        zeros = [jnp.zeros((), jnp.float32)] * len(parts)
        sums = jax.lax.reduce(parts, zeros, lambda a, b: [*map(jnp.add, a, b)], (n,))
        rows += [jnp.sum(each, axis=range(n)) for each in sums]
    return dx, jnp.stack(rows).reshape(w.shape).astype(w.dtype)


by_taps.defvjp(_forward, _backward)


def sum_of_taps(
    padded: Float[Array, "B *places C"], w: Float[Array, "*window C"], stride: int
) -> Float[Array, "B *out C"]:
    """The sum over the taps of a window of what each sees, times its row of the weight."""
    sizes = zip(padded.shape[1:-1], w.shape[:-1], strict=True)
    out = [(length - size) // stride + 1 for length, size in sizes]
    parts = []
    for tap in itertools.product(*map(range, w.shape[:-1])):
        seen = shifted(padded, tap, out, stride)
        parts.append(seen * along_channels(w[tap], seen))
    return functools.reduce(jnp.add, parts)


def shifted(
    padded: Float[Array, "B *places C"], tap: Sequence[int], out: Sequence[int], stride: int
) -> Float[Array, "B *out C"]:
    """What a tap of the window sees at each place of the output."""
    last = [t + stride * (n - 1) + 1 for t, n in zip(tap, out, strict=True)]
    steps = (1, *(stride,) * len(out), 1)
    return jax.lax.slice(padded, (0, *tap, 0), (len(padded), *last, padded.shape[-1]), steps)


def convolved(
    x: Float[Array, "B *places I"],
    w: Float[Array, "J *window O"],
    window: SlidingWindow,
    outputs: str | None,
    inputs: str | None = None,
    groups: int = 1,
) -> Float[Array, "B *out O"]:
    """XLA's convolution, whose output and input channels have those logical axes.

    Each device convolves its own rows: left to XLA, the weight's gradient of a depthwise one came
    out doubled where three mesh axes were larger than 1.
    """
    letters, inner = LETTERS[: window.dimensions], (None,) * window.dimensions
    laid_out = f"N{letters}C", f"I{letters}O", f"N{letters}C"
    kernel = spec(inputs, *inner, outputs)

    def own(x: Array, w: Array) -> Array:
        y = jax.lax.conv_general_dilated(
            x,
            w,
            window.strides,
            window.pads(x.shape[1:-1]),
            dimension_numbers=laid_out,
            feature_group_count=groups,
        )
        return y if kernel[0] is None else jax.lax.psum(y, kernel[0])

    # A weight that `fsdp` cuts is gathered.
    return jax.shard_map(
        own,
        in_specs=(spec("batch", *inner, inputs), kernel),
        out_specs=spec("batch", *inner, outputs),
    )(x, jax.sharding.reshard(w, kernel))


def at_each_place(
    x: Float[Array, "B *places I"], w: nnx.Param[Array], b: nnx.Param[Array] | None, backend: str
) -> Float[Array, "B *places O"]:
    """x w + b: a product of matrices, but a convolution on TPUs, where a product wants its operands
    laid out otherwise than the convolutions next to it, so that each of them would be copied."""
    places = x.shape[1:-1]
    if backend != "tpu":
        return placed(linear(flat(x), w, b), places)
    inputs, outputs = (None if axis == "embed" else axis for axis in w.get_metadata("logical"))
    kernel = jnp.expand_dims(w[...].astype(x.dtype), range(1, 1 + len(places)))
    y = convolved(x, kernel, SlidingWindow(len(places), 1), outputs, inputs)
    return y if b is None else y + along_channels(b[...].astype(x.dtype), y)


def max_pool(x: Float[Array, "B *places C"], window: SlidingWindow) -> Float[Array, "B *out C"]:
    """The largest number of each channel in a window; what pads is never it."""
    return jax.lax.reduce_window(
        x,
        -jnp.inf,
        jax.lax.max,
        (1, *window.sizes, 1),
        (1, *window.strides, 1),
        [(0, 0), *window.pads(x.shape[1:-1]), (0, 0)],
    )


def he(fan_in: int) -> nnx.Initializer:
    """Normal numbers that keep the variance through ReLU (He et al. 2015)."""
    return jax.nn.initializers.normal(math.sqrt(2 / fan_in))


def every(x: Float[Array, "B *places C"], stride: int) -> Float[Array, "B *out C"]:
    """Each place of that stride, from the first on."""
    steps = (1, *(stride,) * (x.ndim - 2), 1)
    return jax.lax.slice(x, (0,) * x.ndim, x.shape, steps)


def flat(x: Float[Array, "B *places C"]) -> Float[Array, "B P C"]:
    """The places in one dimension, row by row."""
    shape = (len(x), math.prod(x.shape[1:-1]), x.shape[-1])
    return jax.lax.reshape(x, shape, out_sharding=spec("batch", None, None))


def placed(x: Float[Array, "B P C"], places: Sequence[int]) -> Float[Array, "B *places C"]:
    """The places in their dimensions again."""
    axes = spec("batch", *(None,) * (len(places) + 1))
    return jax.lax.reshape(x, (len(x), *places, x.shape[-1]), out_sharding=axes)


def whole(x: Float[Array, "B *places C"]) -> Float[Array, "B *places C"]:
    """With all channels on each device."""
    return jax.sharding.reshard(x, spec("batch", *(None,) * (x.ndim - 1)))


def along_channels(
    vector: Float[Array, "C"], x: Float[Array, "B *places C"]
) -> Float[Array, "..."]:
    """A number a channel, with the dimensions of `x`."""
    return vector[(None,) * (x.ndim - 1)]
