"""Recurrent layers: LSTM and GRU over packed rows, whose states begin anew with each segment.

Gates and their order are those of torch: `torch.nn.LSTM` has input, forget, cell, output;
`torch.nn.GRU` reset, update, new, and resets after the product with the state. Arrays that are
scanned have the length first: [T, B, ...].
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from data.errors import UserError
from model.sharding import spec
from model.weights import Declare

States = tuple[Array, ...]
"""Of a cell, what it gives first: (h, c) of an LSTM, (h,) of a GRU, float32."""


Gates = tuple[Array, Array, Array, Array]
"""Of a cell, [B, H] each."""


def sigmoid(x: Array) -> Array:
    """By tanh, for which XLA's CPU backend takes half the time that it does for `exp`."""
    return 0.5 * jnp.tanh(0.5 * x) + 0.5


SLOPES: dict[Callable[[Array], Array], Callable[[Array], Array]] = {
    sigmoid: lambda y: y * (1 - y),
    jnp.tanh: lambda y: 1 - y * y,
    jnp.asarray: jnp.ones_like,
}
"""Of non-linearities, from their values."""


def lstm(gates: Gates, states: States) -> States:
    """A step of an LSTM (Hochreiter & Schmidhuber 1997; with a forget gate, Gers et al. 2000)."""
    i, f, g, o = gates
    c = f * states[1] + i * g
    return o * jnp.tanh(c), c


def gru(gates: Gates, states: States) -> States:
    """A step of a GRU (Cho et al. 2014), whose new state has the products apart."""
    r, z, n, n_of_state = gates
    return ((1 - z) * jnp.tanh(n + r * n_of_state) + z * states[0],)


class CellKind(NamedTuple):
    """A kind of recurrent cell."""

    step: Callable[[Gates, States], States]
    applied: tuple[Callable[[Array], Array], ...]
    """To each gate, before the step."""
    blocks: int
    """G, blocks of H columns that its matrices have."""
    states: int
    """How many it hands on."""
    opened: int = -1
    """The gate whose bias begins at 1, so that states are kept at first (Jozefowicz et al. 2015).
    """

    @property
    def apart(self) -> int:
        """Blocks, the last ones, whose products of input and state are not added."""
        return 4 - self.blocks

    @property
    def added(self) -> int:
        """Blocks whose products are."""
        return self.blocks - self.apart

    def gates(self, a: Float[Array, "B C"], u: Float[Array, "B C"]) -> Gates:
        """The gates of a place, from the products of its input and of the state before."""
        own, other = (jnp.split(x.astype(jnp.float32), self.blocks, axis=-1) for x in (a, u))
        n = self.added
        added = (x + y for x, y in zip(own[:n], other[:n], strict=True))
        first, second, third, fourth = (
            apply(x) for apply, x in zip(self.applied, (*added, *own[n:], *other[n:]), strict=True)
        )
        return first, second, third, fourth

    def of_gates(self, gates: Gates, d_gates: Gates) -> tuple[Array, Array]:
        """Gradients of both products, from the gates and their gradients."""
        each = zip(self.applied, gates, d_gates, strict=True)
        slopes = [SLOPES[apply](y) * d for apply, y, d in each]
        added, of_input = slopes[: self.added], slopes[self.added : self.blocks]
        of_state = slopes[self.blocks :]
        if not of_state:
            return (whole := jnp.concatenate(added, -1)), whole
        return jnp.concatenate(added + of_input, -1), jnp.concatenate(added + of_state, -1)


CELLS = {
    "lstm": CellKind(lstm, (sigmoid, sigmoid, jnp.tanh, sigmoid), 4, 2, opened=1),
    "gru": CellKind(gru, (sigmoid, sigmoid, jnp.asarray, jnp.asarray), 3, 1),
}


def begins(segments: Int[Array, "B T"], *, reverse: bool) -> Bool[Array, "T B"]:
    """Where a segment begins, read from the left or, if `reverse`, from the right."""
    differs = segments[:, 1:] != segments[:, :-1]
    first = jnp.ones_like(segments[:, :1], bool)
    parts = (differs, first) if reverse else (first, differs)
    return jnp.concatenate(parts, axis=1).T


def ends(segments: Int[Array, "B T"], *, reverse: bool) -> Bool[Array, "B T"]:
    """Where a segment ends, read that way."""
    return begins(segments, reverse=not reverse).T


def product(x: Float[Array, "B I"], w: Float[Array, "I O"]) -> Float[Array, "B O"]:
    """x w in float32, multiplied in the type of `w`."""
    return jnp.dot(x.astype(w.dtype), w, preferred_element_type=jnp.float32)


def zeros(kind: str, B: int, H: int) -> States:
    """The states that a row begins with."""
    layout = spec("batch", None)
    return tuple(jnp.zeros((B, H), out_sharding=layout) for _ in range(CELLS[kind].states))


def begun(states: States, start: Bool[Array, "..."], initial: States | None) -> States:
    """The states, but where a segment starts `initial`, or zero."""
    fresh = (0.0,) * len(states) if initial is None else initial
    return tuple(jnp.where(start[..., None], f, s) for f, s in zip(fresh, states, strict=True))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def recur(
    kind: str,
    reverse: bool,
    products: Float[Array, "T B C"],
    w: Float[Array, "H C"],
    b: Float[Array, "C"],
    begin: Bool[Array, "T B"],
    initial: States | None,
) -> States:
    """States [T, B, H] after each place, from the `products` of its input. Where a segment begins
    they start from `initial` [T, B, H] there, or from zero.

    The gradient of `w` is one product of all places after the scan: inside it, XLA's CPU backend
    would add up a matrix at each (1.3 x on the whole gradient).
    """
    return forward(kind, reverse, products, w, b, begin, initial)[0]


def forward(
    kind: str,
    reverse: bool,
    products: Array,
    w: Array,
    b: Array,
    begin: Array,
    initial: States | None,
) -> tuple[States, Any]:
    """The states, and what the gradient is computed from."""
    cell = CELLS[kind]

    def step(carried: States, at: tuple[Any, ...]) -> tuple[States, tuple[States, Gates]]:
        a, start, own = at
        before = begun(carried, start, own)
        gates = cell.gates(a, product(before[0], w) + b[None])
        after = cell.step(gates, before)
        return after, (after, gates)

    rest = zeros(kind, products.shape[1], w.shape[0])
    xs = (products, begin, initial)
    _, (states, gates) = jax.lax.scan(step, rest, xs, reverse=reverse)
    return states, (w, begin, initial, states, gates)


def backward(kind: str, reverse: bool, saved: Any, d_states: States) -> tuple[Any, ...]:
    """Gradients of `recur`'s arrays."""
    cell, (w, begin, initial, states, gates) = CELLS[kind], saved
    rest = zeros(kind, begin.shape[1], w.shape[0])
    behind = tuple(
        jnp.concatenate([s[1:], z[None]] if reverse else [z[None], s[:-1]])
        for s, z in zip(states, rest, strict=True)
    )
    before = begun(behind, begin, initial)

    def step(carried: States, at: tuple[Any, ...]) -> tuple[States, tuple[Any, ...]]:
        gates, start, before, d_after = at
        d_after = jax.tree.map(jnp.add, d_after, carried)
        d_gates, d_before = jax.vjp(cell.step, gates, before)[1](d_after)
        d_a, d_u = cell.of_gates(gates, d_gates)
        d_before = (d_before[0] + product(d_u, w.T), *d_before[1:])
        d_initial = None if initial is None else begun(d_before, ~start, None)
        return begun(d_before, start, None), (d_u, d_a if cell.apart else None, d_initial)

    xs = (gates, begin, before, d_states)
    _, (d_u, d_a, d_initial) = jax.lax.scan(step, rest, xs, reverse=not reverse)
    d_w = jnp.einsum(
        "TBH,TBG->HG",
        before[0].astype(w.dtype),
        d_u.astype(w.dtype),
        preferred_element_type=jnp.float32,
        out_sharding=spec(None, None),
    )
    d_a = d_u if d_a is None else d_a
    return d_a.astype(w.dtype), d_w.astype(w.dtype), jnp.sum(d_u, axis=(0, 1)), None, d_initial


recur.defvjp(forward, backward)


class Recurrence(nnx.Module):
    """A layer in one direction: weights that multiply inputs and states, gates side by side.

    The biases of input and state are one where they add up. Weights begin as torch's do, uniform
    up to 1 / sqrt(H).
    """

    def __init__(self, declare: Declare, key: PRNGKeyArray, D: int, H: int, *, kind: str):
        cell, (inputs, states) = CELLS[kind], jax.random.split(key)
        G = cell.blocks
        self.kind = kind
        init = functools.partial(jax.random.uniform, minval=-(H**-0.5), maxval=H**-0.5)
        fans = {"init": init, "decay": True, "fan_in": (0,), "fan_out": (1,)}
        self.w_input = declare(inputs, (D, G * H), ("embed", None), **fans)
        self.w_hidden = declare(states, (H, G * H), ("embed", None), **fans)
        self.b_input = declare(None, (G * H,), (None,), init=_biases(cell.opened, H))
        plain = jax.nn.initializers.zeros
        self.b_hidden = declare(None, (H,), (None,), init=plain) if cell.apart else None

    def __call__(
        self,
        x: Float[Array, "T B D"],
        begin: Bool[Array, "T B"],
        initial: States | None = None,
        *,
        reverse: bool = False,
    ) -> States:
        """States [T, B, H] after each place, the first of them the layer's output."""
        return recur(self.kind, reverse, *self.operands(x), begin, initial)

    def go_on(
        self, x: Float[Array, "T B D"], states: States, real: Bool[Array, "T B"]
    ) -> tuple[Float[Array, "T B H"], States]:
        """Outputs and the last states, from states [B, H] on; places that are not `real` leave
        them as they are."""
        products, w, b = self.operands(x)
        cell = CELLS[self.kind]

        def place(before: States, at: tuple[Array, Array]) -> tuple[States, Array]:
            a, counts = at
            gates = cell.gates(a, product(before[0], w) + b[None])
            after = begun(before, counts, cell.step(gates, before))
            return after, after[0].astype(x.dtype)

        after, outputs = jax.lax.scan(place, states, (products, real))
        return outputs, after

    def operands(self, x: Float[Array, "T B D"]) -> tuple[Array, Array, Array]:
        """What a scan needs: the products of all inputs, the matrix of the states, their bias."""
        whole, H = spec(None, None), self.w_hidden.shape[0]
        w_input, w_hidden = (
            jax.sharding.reshard(w[...].astype(x.dtype), whole)
            for w in (self.w_input, self.w_hidden)
        )
        products = jnp.einsum("TBD,DG->TBG", x, w_input, out_sharding=spec(None, "batch", None))
        products = products + self.b_input[...].astype(x.dtype)[None, None]
        rest = jnp.zeros(w_hidden.shape[1] - H * CELLS[self.kind].apart)
        own = [] if self.b_hidden is None else [self.b_hidden[...]]
        return products, w_hidden, jnp.concatenate([rest, *own])


def _biases(opened: int, H: int) -> nnx.Initializer:
    """Zero, but 1 for the gate that is to be open."""

    def init(key: Any, shape: Any, dtype: Any = jnp.float32, out_sharding: Any = None) -> Array:
        gate = jnp.arange(shape[0]) // H
        return jax.sharding.reshard((gate == opened).astype(dtype), out_sharding)

    return init


def require_mesh(kind: str) -> None:
    """Raise ValueError if the current mesh cuts what a recurrent network needs whole."""
    sizes = jax.sharding.get_abstract_mesh().shape
    reasons = {
        "tensor": "each step of a cell needs all channels of the state before it, which would cross"
        " the network at every token",
        "context": "a step waits for the state of the token before it, so that devices with later "
        "parts of a row would wait for those with earlier ones",
    }
    for axis, reason in reasons.items():
        if (size := sizes.get(axis, 1)) > 1:
            raise UserError(
                f"mesh.{axis}={size} must be 1 for model.kind={kind}, because {reason}; try "
                f"--mesh.{axis} 1 --mesh.fsdp {size * sizes.get('fsdp', 1)}"
            )
