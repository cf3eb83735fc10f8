"""What is compared of two tables of numbers, and how closely."""

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

RENAMED: dict[str, str] = {
    "foretold": "predicted",
    "least": "lower_bound",
    "held_back": "not_fitted",
}
"""Keys of the old side by their names on the new one; a key may be several with dots between."""
ADDED: dict[str, Any] = {"model.kind": "decoder"}
"""Ends of names that the new side alone has, as fields are that are younger than the old one, with
the value that stands for what was done before."""
VOLATILE = {
    "train.*.time": "when a record was written",
    "train.*.goodput": "measured",
    "train.*.step_seconds": "measured",
    "train.*.tokens_per_second": "measured",
    "train.*.flops_per_second": "measured",
    "train.*.data_wait": "measured",
    "train.*.checkpoint.bytes": "of files that hold versions and paths",
    "train.*.versions.*": "of packages",
    "train.*.cache_dir": "a temporary folder",
    "plan.*.compiler.*": "its seconds and memory are measured; folders",
    "plan.*.folder": "a temporary folder",
    "plan.*.where": "lines of source, which move",
}
"""Patterns of names that are left out, and why."""
NEAR = {"ladder fit.*": 1e-6, "plan.*.time.*": 1e-14}
"""Patterns of names whose values may differ by that share: constants that a search ends near, and
sums over a program's collectives, which its compiler may list in another order."""


def flat(value: Any, name: str) -> dict[str, Any]:
    """Every plain value by its name, as in plan.tiny.fit.peak, without those that are VOLATILE.

    Items of a list are named by their `name`s if all have different ones, else numbered; an empty
    list or dict is a value.
    """
    if isinstance(value, list) and value:
        names = [item.get("name") if isinstance(item, dict) else None for item in value]
        distinct = None not in names and len(set(names)) == len(names)
        value = dict(zip(names if distinct else range(len(value)), value, strict=True))
    if isinstance(value, dict) and value:
        parts = [flat(item, f"{name}.{key}") for key, item in value.items()]
        return {key: item for part in parts for key, item in part.items()}
    return {} if any(fnmatchcase(name, pattern) for pattern in VOLATILE) else {name: value}


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], int]:
    """A line for each value that differs or that one side lacks, and how many values are equal."""
    old = {_renamed(name): value for name, value in old.items()}
    lines, equal = [], 0
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            lines.append(f"{name}: was {old[name]!r}, now missing")
        elif name not in old and not any(
            f".{name}".endswith(f".{end}") and new[name] == value for end, value in ADDED.items()
        ):
            lines.append(f"{name}: was missing, now {new[name]!r}")
        elif name in old and not _same(name, old[name], new[name]):
            lines.append(f"{name}: was {old[name]!r}, now {new[name]!r}")
        else:
            equal += 1
    return lines, equal


def _renamed(name: str) -> str:
    padded = f".{name}."
    for old, new in RENAMED.items():
        padded = padded.replace(f".{old}.", f".{new}.")
    return padded[1:-1]


def _same(name: str, old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        share = next((NEAR[key] for key in NEAR if fnmatchcase(name, key)), 0.0)
        return math.isclose(old, new, rel_tol=share) or (math.isnan(old) and math.isnan(new))
    return bool(old == new)
