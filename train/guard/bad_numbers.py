"""Judges each step that was read: was its update made, and if not, may the run continue?"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Array, Float

from data.errors import UserError
from train.config import BadNumbersConfig
from train.feed import replicated
from train.guard.spikes import NO_CEILING, Window
from train.step import Metrics


class Rollback(UserError):
    """A step was bad: the run is to continue from a checkpoint before it, without its rows."""

    def __init__(self, what: str, rows: tuple[int, int]) -> None:
        super().__init__(what)
        self.rows = rows
        """First row of the step, and the first after it, counted in rows trained on."""


class Guard:
    """Gives each step its ceiling, counts the updates that were not made, ends a run
    that cannot continue.

    `describe(first, after)` says which data rows those are. `kept` is the `meta` of the checkpoint
    a run continues from. All processes read the same metrics, and so do the same.
    """

    def __init__(
        self,
        config: BadNumbersConfig,
        say: Callable[[str], None],
        describe: Callable[[int, int], str],
        kept: Mapping[str, Any] | None = None,
    ) -> None:
        kept = kept or {}
        self._config = config
        self._say = say
        self._describe = describe
        self._window = Window(config.window, config.threshold, kept.get("window", ()))
        self._lately: list[int] = list(kept.get("dropped_lately", ()))
        self._in_a_row: int = kept.get("dropped_in_a_row", 0)
        self.dropped: int = kept.get("dropped_updates", 0)
        """Updates not made since the run began."""
        self._limits: tuple[float, float] | None = None
        self._on_device: Array | None = None

    def ceiling(self, step: int) -> Float[Array, "2"]:
        """The train step's `ceiling` for `step`, the next one; on the devices of the mesh."""
        limits = NO_CEILING if self._config.spikes == "off" else self._window.ceiling(step)
        if self._on_device is None or limits != self._limits:
            self._limits, self._on_device = limits, replicated(limits)
        return self._on_device

    def meta(self) -> dict[str, Any]:
        """What a checkpoint keeps, so that a resumed run judges as if it had never stopped."""
        return {
            "window": self._window.records(),
            "dropped_updates": self.dropped,
            "dropped_in_a_row": self._in_a_row,
            "dropped_lately": self._lately,
        }

    def judge(self, step: int, rows: tuple[int, int], metrics: Metrics) -> None:
        """Take the metrics of `step` into the window, or do what the config says.

        Raises ValueError if the run is to end, Rollback if it is to go back.
        """
        loss, norm = float(metrics.loss), float(metrics.grad_norm)
        if metrics.updated:
            self._in_a_row = 0
            self._window.add(step, loss, norm)
            return
        finite = math.isfinite(loss) and math.isfinite(norm)
        policy = self._config.spikes if finite else self._config.non_finite
        what = self._measured(step, rows, loss, norm, spike=finite)
        if policy == "stop":
            raise UserError(what + self._remedy(spike=finite))
        if policy == "rollback":
            raise Rollback(f"{what} {_kind(spike=finite)}", rows)
        self._drop(step, what, spike=finite)

    def _measured(
        self, step: int, rows: tuple[int, int], loss: float, norm: float, *, spike: bool
    ) -> str:
        scores = ("", "")
        if spike:
            values = self._window.scores(step, loss, norm)
            scores = tuple(f" (z-score {score:.1f})" for score in values)
        return (
            f"loss={loss:.6g}{scores[0]} and gradient norm={norm:.6g}{scores[1]} of step {step} "
            f"({self._describe(*rows)})"
        )

    def _remedy(self, *, spike: bool) -> str:
        if spike:
            most = self._config.threshold
            return (
                f" must have z-scores of at most {most:g}, because train.bad_numbers.spikes=stop; "
                "that update was not made; try --resume with --train.bad-numbers.spikes skip "
                f"or rollback, or with --train.bad-numbers.threshold {2 * most:g}"
            )
        return (
            " must be finite, because nothing can be learnt from them; that update was not made; "
            "try a new run with a lower --train.optimizer.learning-rate, or, if only these rows "
            "are at fault, --resume with --train.bad-numbers.non-finite skip or rollback"
        )

    def _drop(self, step: int, what: str, *, spike: bool) -> None:
        config = self._config
        self.dropped += 1
        self._in_a_row += 1
        since = step - config.dropped_within
        self._lately = [*(other for other in self._lately if other > since), step]
        limits = {
            f"{self._in_a_row} updates in a row": (
                self._in_a_row >= config.most_in_a_row,
                f"train.bad_numbers.most_in_a_row={config.most_in_a_row}",
            ),
            f"{len(self._lately)} updates within {config.dropped_within} steps": (
                len(self._lately) > config.most_dropped,
                f"train.bad_numbers.most_dropped={config.most_dropped}",
            ),
        }
        for many, (too_many, limit) in limits.items():
            if too_many:
                raise UserError(
                    f"{what} must {'be no spike' if spike else 'be finite'}, because {many} were "
                    f"dropped ({limit}) and little is learnt any more; try a new run with a lower "
                    "--train.optimizer.learning-rate"
                )
        self._say(f"{what} {_kind(spike=spike)}: that update was dropped, {self.dropped} so far")


def _kind(*, spike: bool) -> str:
    return "are a spike" if spike else "are not finite"
