"""The optax chain that turns gradients into updates, whatever the optimizer."""

from typing import Any, Protocol, cast

import jax
import optax
from flax import nnx

from train.config import OptimizerConfig


class Transform(Protocol):
    """An `optax.GradientTransformation` over trees of our modules, which its types do not know."""

    def init(self, params: Any) -> Any: ...

    def update(self, updates: Any, state: Any, params: Any) -> tuple[Any, Any]: ...


def gradient_transform(config: OptimizerConfig) -> Transform:
    """The optimizer's direction and decoupled weight decay; the caller multiplies the result by
    -learning rate.

    Moments are those of gradients at their base size, and their update has the parameter's own
    rate; the decay follows the common rate alone (`model.parametrization`).
    """
    decay = optax.add_decayed_weights(config.weight_decay, decays)
    return cast(Transform, optax.chain(parametrized(config.direction()), decay))


def parametrized(direction: optax.GradientTransformation) -> optax.GradientTransformation:
    """`direction` between each parameter's factors on its gradient and on its update."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        moved, state = direction.update(times(updates, "gradient_factor"), state, params)
        return times(moved, "rate_factor"), state

    return optax.GradientTransformation(direction.init, update)


def times(tree: Any, factor: str) -> Any:
    """A tree like the model's with every value multiplied by that factor of its declaration."""

    def scale(weight: nnx.Param[jax.Array]) -> nnx.Variable[jax.Array]:
        size = weight.get_metadata()[factor]
        return weight if size == 1 else weight.replace(weight[...] * size)

    return jax.tree.map(scale, tree, is_leaf=lambda node: isinstance(node, nnx.Param))


def decays(model: Any) -> Any:
    """The model's tree with True where a parameter is declared to decay."""
    return jax.tree.map(
        lambda p: p.replace(p.get_metadata()["decay"]),
        model,
        is_leaf=lambda node: isinstance(node, nnx.Param),
    )
