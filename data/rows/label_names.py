"""The labels of examples that have one each: their names, and what they must be."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from data.errors import UserError
from data.rows.predictor import Example


def label_of(field: str, example: Example, otherwise: str = "") -> str:
    """The label of an example; ValueError if it is none, with what to try `otherwise`."""
    value = example.values[field]
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise UserError(
            f"data.label_field={field!r} must hold the label of every example, a name or a whole "
            f"number, but in {example.origin} it is {value!r}; try another field{otherwise}"
        )
    return str(value)


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names in order, numbers by their size."""
    names = set(names)
    if all(re.fullmatch(r"-?\d+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def label_names(field: str, labels: Sequence[str], examples: Sequence[Example]) -> tuple[str, ...]:
    """The names of the labels of the training examples, in order; ValueError for fewer than 2."""
    names = set(labels)
    if len(names) < 2:
        raise UserError(
            f"data.label_field={field!r} must hold at least 2 labels, because there is"
            f" nothing to learn of one, but all {len(examples):,} training examples, the first in "
            f"{examples[0].origin}, have {names.pop()!r}; try another field or other data"
        )
    return sorted_names(names)


def require_seen(labels: Sequence[str], examples: Sequence[Example], seen: set[str]) -> None:
    """Raise ValueError if an example has a label that no training example has."""
    for name, example in zip(labels, examples, strict=True):
        if name not in seen:
            raise UserError(
                f"label {name!r} in {example.origin} must be one of the training examples', "
                "because what is never seen is never learnt, and they have "
                f"{', '.join(sorted(seen))}; try leaving that example out, or "
                "training on some of its label"
            )


def number_of(numbers: dict[str, int], name: str, example: Example) -> int:
    """The number of a label; ValueError if there is no such label."""
    if name not in numbers:
        raise UserError(
            f"label {name!r} in {example.origin} must be one of {', '.join(numbers)}, "
            "because only these can be predicted; try adding it to --data.labels, or training "
            "examples with it"
        )
    return numbers[name]


def named_outputs(names: Sequence[str]) -> str:
    """The first names, for messages."""
    return ", ".join(names[:8]) + ", ..." * (len(names) > 8)


def likeliest(names: Sequence[str], shares: Any) -> dict[str, Any]:
    """The answer of a label of all, with the probability of each."""
    named = dict(zip(names, map(float, shares), strict=True))
    return {"label": max(named, key=named.__getitem__), "probabilities": named}
