"""YAML files of the user's as plain values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data import system
from data.errors import UserError

LARGEST = 10_000


def load_dict(
    path: Path, name: str = "config", example: str = "the config.yaml of a run directory"
) -> dict[str, Any]:
    """The YAML of a config as plain values, not yet checked against today's fields. ValueError if
    it cannot be read, is no mapping, or its aliases make more than LARGEST values of it."""
    import yaml

    try:
        system.require_regular(path)
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:  # numbers, dates and depths that Python has not fail in many ways
        what = str(error)
        if isinstance(error, OSError | RecursionError):
            what = system.said(error)
        elif not isinstance(error, UnicodeError | yaml.YAMLError):
            what = f"one of its values is not valid in YAML ({type(error).__name__}: {error})"
        raise UserError(
            f"{name}={path} must be a readable YAML file, but: {what}; try {example}"
        ) from error
    if not isinstance(values, dict):
        raise UserError(
            f"{name}={path} must hold a mapping of fields, but holds {type(values).__name__}; "
            f"try {example}"
        )
    if _exceeds(values, LARGEST):
        raise UserError(
            f"{name}={path} must hold at most {LARGEST:,} values, because it is read into memory, "
            f"but its aliases make more of it; try {example}"
        )
    return values


def _exceeds(values: Any, most: int) -> bool:
    """Whether there are more values than that; one that contains itself counts without an end."""
    left, count = [values], 0
    while left and count <= most:
        value = left.pop()
        count += 1
        if isinstance(value, Mapping):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple | set):
            left += value
    return count > most
