"""How a trained model is asked other texts than those of its data."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple


class Example(NamedTuple):
    """Fields of a record by their names, of which nothing is checked yet."""

    values: dict[str, Any]
    origin: str
    """File and place."""


class Predictor(ABC):
    """How a trained model is asked other texts than those of its data.

    fields: of an input, those that are read. of_texts: whether they hold texts.
    """

    fields: list[str]
    of_texts: ClassVar[bool] = True

    @abstractmethod
    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> Any:
        """A batch that asks these inputs; ValueError names one that cannot be asked."""

    @abstractmethod
    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """What `train.objective.Sums.outputs` of the batch says of each input."""

    def written(self, example: Example) -> dict[str, Any]:
        """What is shown of an input next to its answer."""
        return example.values

    def shown(self, values: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """An answer for people, in a line."""
        named = ", ".join(f"{name} {_short(value)}" for name, value in answer.items())
        return f"{named}  {' | '.join(str(values[field]) for field in self.fields)}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_short(each)}" for name, each in value.items())
    return f"{value:.3f}" if isinstance(value, float) else str(value)
