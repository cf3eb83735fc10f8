"""The checkout that this program runs from."""

import importlib.util
from pathlib import Path

from data.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("model", "data", "train", "launch")


def require_own_packages() -> None:
    """UserError if another package hides one of this checkout."""
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        folder = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if folder != ROOT / room:
            raise UserError(
                f"package {room}={folder} must be {ROOT / room}, because another package of that "
                "name hides it; try from another directory, or without it on PYTHONPATH"
            )
