"""One row of `meshloom checkpoint list`: what is known of a checkpoint from its small files."""

import time
from pathlib import Path
from typing import Any

from data import system
from launch.run.signing import signing_key
from train.checkpoint import manifest
from train.checkpoint.folder import REASON, Item
from train.checkpoint.manifest import Fault, check, fault_list


def described(item: Item) -> dict[str, Any]:
    """Step, size, age in seconds, loss and state of a checkpoint; `why` if it is not good."""
    row: dict[str, Any] = {"step": item.step, "name": item.path.name, "bytes": 0}
    row |= {"age": 0.0, "examples_seen": None, "eval_loss": None, "why": ""}
    try:
        row["age"] = time.time() - item.path.stat().st_mtime
        names = manifest.file_names(item.path)
        row["bytes"] = sum((item.path / name).stat().st_size for name in names)
        meta = system.read_json(item.path / "meta.json")
        row["examples_seen"] = meta.get("examples_seen")
        row["eval_loss"] = meta.get("metrics", {}).get("eval_loss")
    except (OSError, ValueError, AttributeError):
        pass  # Its state says what is missing.
    row["state"] = {"saving": "unfinished", "deleting": "being deleted"}.get(item.kind, "set aside")
    if item.kind == "step":
        row["why"] = fault_list(check(item.path, sizes_only=True, key=signing_key()))
        row["state"] = "bad" if row["why"] else "good"
    elif item.kind == "bad":
        row["why"] = _why(item.path)
    return row


def _why(path: Path) -> str:
    try:
        reason = system.read_json(path / REASON)
        return fault_list([Fault(**fault) for fault in reason["faults"]])
    except (OSError, ValueError, LookupError, TypeError):
        return f"its {REASON} cannot be read"
