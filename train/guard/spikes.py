"""Robust z-scores: how far a loss or gradient norm lies above those of the steps before it."""

import math
import statistics
from collections import deque
from collections.abc import Iterable, Sequence

NO_CEILING = (math.inf, math.inf)
# Standard deviations of a normal distribution in one median absolute deviation.
MAD_TO_DEVIATION = 1.4826
# Deviations below this share of the median count as this much: values may be all but equal.
MIN_DEVIATION = 1e-3


class Window:
    """Loss and gradient norm of the newest steps whose update was made.

    What step n is held against are the newest `length` records of steps up to n - 2, because a
    step is read while the next one runs; so a run that read step n - 1 earlier, to save it or to
    evaluate, and one that was resumed there, hold step n against the same records. A step passes
    while there are fewer.
    """

    def __init__(
        self, length: int, threshold: float, records: Iterable[Sequence[float]] = ()
    ) -> None:
        self._length = length
        self._threshold = threshold
        kept = ((int(step), float(loss), float(norm)) for step, loss, norm in records)
        # One more, since the newest may be that of step n - 1.
        self._records = deque(kept, maxlen=length + 1)

    def add(self, step: int, loss: float, grad_norm: float) -> None:
        """The update of `step` was made; steps come in order."""
        self._records.append((step, loss, grad_norm))

    def records(self) -> list[tuple[int, float, float]]:
        """Step, loss and gradient norm of each record, which make the same window again."""
        return list(self._records)

    def ceiling(self, step: int) -> tuple[float, float]:
        """Largest loss and gradient norm of `step` that are no spike; infinite if none would be."""
        before = self._before(step)
        if before is None:
            return NO_CEILING
        loss, norm = (middle + self._threshold * scale for middle, scale in before)
        return loss, norm

    def scores(self, step: int, loss: float, grad_norm: float) -> tuple[float, float]:
        """z-scores of the two values of `step`: deviations above the median; 0 without a window."""
        before = self._before(step)
        if before is None:
            return 0.0, 0.0
        (middle, scale), (norm_middle, norm_scale) = before
        return (loss - middle) / scale, (grad_norm - norm_middle) / norm_scale

    def _before(self, step: int) -> list[tuple[float, float]] | None:
        """Median and deviation of loss and of gradient norm before `step`, if there are enough."""
        before = [record for record in self._records if record[0] <= step - 2]
        if len(before) < self._length:
            return None
        _, losses, norms = zip(*before[-self._length :], strict=True)
        return [_middle_and_scale(losses), _middle_and_scale(norms)]


def _middle_and_scale(values: Sequence[float]) -> tuple[float, float]:
    middle = statistics.median(values)
    spread = MAD_TO_DEVIATION * statistics.median([abs(value - middle) for value in values])
    tiny = MIN_DEVIATION * abs(middle)
    return middle, max(spread, tiny) or 1.0
