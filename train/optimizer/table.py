"""The optimizers by name, each a file here with a function from the config to its direction. They
are imported when they are used, so that `--help` stays fast."""

import difflib
import pkgutil
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from data.errors import UserError

if TYPE_CHECKING:
    import optax

OPTIMIZERS = {
    "adamw": "train.optimizer.adamw:direction",
    "lion": "train.optimizer.lion:direction",
}
Direction: TypeAlias = "optax.GradientTransformation"
"""From gradients to updates before weight decay and learning rate; what it keeps is its state."""

if TYPE_CHECKING:
    Name: TypeAlias = str  # type checkers take only choices that are spelt out
else:
    Name = Literal[tuple(OPTIMIZERS)]


def direction_of(config: Any) -> Direction:
    """The direction of the optimizer that `config.name` names; ValueError if there is none."""
    if config.name not in OPTIMIZERS:
        (near,) = difflib.get_close_matches(config.name, OPTIMIZERS, n=1, cutoff=0.0)
        raise UserError(
            f"train.optimizer.name={config.name!r} must be one of {', '.join(OPTIMIZERS)}, because "
            f"the optimizer is found by it; try {near}, or from Python a config whose direction() "
            "returns an optimizer of its own"
        )
    return pkgutil.resolve_name(OPTIMIZERS[config.name])(config)
