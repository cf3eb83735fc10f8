"""An optimizer outside the packages: Adafactor's means of squares over rows and over columns."""

import math
from dataclasses import dataclass

import jax
from optax import GradientTransformation, tree

from train.config import OptimizerConfig


@dataclass(frozen=True, kw_only=True)
class Factored(OptimizerConfig):
    name: str = "factored"

    def direction(self) -> GradientTransformation:
        def means(grads):
            squares = [g**2 + self.epsilon for g in jax.tree.leaves(grads)]
            return [[s.mean(a, keepdims=True) for a in range(-min(s.ndim, 2), 0)] for s in squares]

        def update(updates, state, params=None):
            state = tree.update_moment(means(updates), state, self.beta2, 1)
            leaves, shape = jax.tree.flatten(updates)
            return shape.unflatten(map(_scaled, leaves, state)), state

        return GradientTransformation(lambda params: tree.zeros_like(means(params)), update)


def _scaled(g, means):
    return g / (math.prod(means) / means[0].mean(-1, keepdims=True) ** (len(means) - 1)) ** 0.5
