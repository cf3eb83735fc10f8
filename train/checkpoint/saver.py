"""How a run saves: what each of its checkpoints says, and what is checked before one is written."""

from collections.abc import Callable
from typing import Any

from train.checkpoint.checkpointer import Checkpointer


class RunSaver:
    """Saves states of one run by its checkpointer, as `train.loop.Saver`."""

    def __init__(
        self,
        checkpointer: Checkpointer,
        meta: dict[str, Any],
        check: Callable[[int, Any], None] | None = None,
    ) -> None:
        """`meta` goes into every checkpoint; `check(step, state)` raises ValueError for a state
        that no checkpoint may contain."""
        self._checkpointer = checkpointer
        self._meta = meta
        self._check = check
        self.is_due = checkpointer.is_due
        self.wait = checkpointer.wait

    def save(
        self,
        step: int,
        state: Any,
        position: dict[str, Any],
        *,
        metrics: dict[str, float] | None,
        force: bool,
    ) -> bool:
        """`Checkpointer.save` of the state with its position in the data."""
        if self._check is not None:
            self._check(step, state)
        meta = self._meta | position
        return self._checkpointer.save(step, state, meta, metrics=metrics, force=force)
