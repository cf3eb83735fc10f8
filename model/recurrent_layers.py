"""Recurrent layers one on the other, in one direction or both."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from model.dropout import dropout
from model.recurrence import Recurrence, States, begins
from model.weights import Declare


class Read(NamedTuple):
    """What layers make of rows."""

    x: Float[Array, "B T H"]
    """Outputs of the last."""
    states: list[tuple[States, ...]]
    """Of each layer, by direction, [T, B, H] after each place."""


class RecurrentLayers(nnx.Module):
    """L layers, each of which reads what the one before gives, H channels: of layers in both
    directions half of them are of each (Schuster & Paliwal 1997)."""

    def __init__(
        self,
        declare: Declare,
        key: PRNGKeyArray,
        D: int,
        H: int,
        L: int,
        *,
        kind: str,
        bidirectional: bool,
        rate: float,
    ):
        """D are the channels of the first input; `rate` is that of dropout before each layer
        (Zaremba et al. 2014)."""
        self.kind, self.rate = kind, rate
        directions = 1 + bidirectional
        self.layers = nnx.List(
            nnx.List(
                Recurrence(declare, own, H if layer else D, H // directions, kind=kind)
                for own in jax.random.split(of_layer, directions)
            )
            for layer, of_layer in enumerate(jax.random.split(key, L))
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        segments: Int[Array, "B T"],
        key: PRNGKeyArray | None = None,
        initial: list[States] | None = None,
    ) -> Read:
        """Outputs and states. Where a segment begins each layer starts from zero, or from its
        `initial` states [T, B, H] there. `key` is that of dropout."""
        keys = [None] * len(self.layers) if key is None else jax.random.split(key, len(self.layers))
        begin = [begins(segments, reverse=False), begins(segments, reverse=True)]
        x, kept = jnp.swapaxes(x, 0, 1), []
        for number, layer in enumerate(self.layers):
            x = dropout(x, self.rate, keys[number])
            own = None if initial is None else initial[number]
            states = tuple(
                direction(x, start, own, reverse=bool(way))
                for way, (direction, start) in enumerate(zip(layer, begin, strict=False))
            )
            x = jnp.concatenate([each[0] for each in states], axis=-1).astype(x.dtype)
            kept.append(states)
        return Read(jnp.swapaxes(x, 0, 1), kept)

    def go_on(
        self, x: Float[Array, "B T D"], states: States, real: Bool[Array, "B T"]
    ) -> tuple[Float[Array, "B T H"], States]:
        """Outputs and last states of layers in one direction, which go on from states [L, B, H];
        places that are not `real` leave them as they are."""
        x, after = jnp.swapaxes(x, 0, 1), []
        for number, layer in enumerate(self.layers):
            own = tuple(state[number] for state in states)
            x, last = layer[0].go_on(x, own, real.T)
            after.append(last)
        return jnp.swapaxes(x, 0, 1), tuple(jnp.stack(each) for each in zip(*after, strict=True))
