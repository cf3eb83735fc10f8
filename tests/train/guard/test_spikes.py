"""The window's arithmetic, held against numpy over all the records there ever were."""

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from train.guard.spikes import MIN_DEVIATION, NO_CEILING, Window

THRESHOLD = 4.0
values = st.floats(0.125, 100, width=32)
"""Steps in order: what was measured, and whether the update was made."""
histories = st.lists(st.tuples(values, values, st.booleans()), max_size=40)
lengths = st.integers(2, 9)


def filled(length: int, history: list[tuple[float, float, bool]]) -> Window:
    """The window after the steps 1, 2, ... of `history`."""
    window = Window(length, THRESHOLD)
    for step, (loss, norm, updated) in enumerate(history, start=1):
        if updated:
            window.add(step, loss, norm)
    return window


def by_hand(seen: list[float], length: int) -> float:
    last = np.array(seen[-length:], np.float64)
    middle = np.median(last)
    deviation = 1.4826 * np.median(np.abs(last - middle))
    return float(middle + THRESHOLD * max(deviation, MIN_DEVIATION * middle))


@given(history=histories, length=lengths)
def test_the_ceiling_is_median_plus_deviations_of_updates_up_to_two_steps_before(
    history: list, length: int
) -> None:
    step = len(history) + 1
    seen = [(loss, norm) for loss, norm, updated in history[: step - 2] if updated]
    ceiling = filled(length, history).ceiling(step)
    if len(seen) < length:
        assert ceiling == NO_CEILING
    else:
        losses, norms = (list(column) for column in zip(*seen, strict=True))
        np.testing.assert_allclose(ceiling, [by_hand(losses, length), by_hand(norms, length)])


@given(history=histories, length=lengths)
def test_a_step_that_was_read_early_does_not_change_the_next_ceiling(
    history: list, length: int
) -> None:
    late, early = filled(length, history[:-1]), filled(length, history)
    assert late.ceiling(len(history) + 1) == early.ceiling(len(history) + 1)


@given(history=histories, length=lengths, data=st.data())
def test_a_window_that_went_through_json_goes_on_with_the_same_ceilings(
    history: list, length: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(history)))
    straight = filled(length, history[:cut])
    kept = json.loads(json.dumps(straight.records()))
    resumed = Window(length, THRESHOLD, kept)
    for step, (loss, norm, updated) in enumerate(history[cut:], start=cut + 1):
        assert straight.ceiling(step) == resumed.ceiling(step)
        if updated:
            straight.add(step, loss, norm)
            resumed.add(step, loss, norm)


@given(history=histories, length=lengths, excess=st.floats(-3, 3, width=16))
def test_what_lies_above_the_ceiling_has_a_score_above_the_threshold(
    history: list, length: int, excess: float
) -> None:
    window, step = filled(length, history), len(history) + 1
    loss, norm = window.ceiling(step)
    if math.isfinite(loss) and abs(excess) > 1e-3:
        scores = window.scores(step, loss + excess, norm - excess)
        assert (scores[0] > THRESHOLD, scores[1] > THRESHOLD) == (excess > 0, excess < 0)


def test_only_high_values_are_spikes_and_equal_values_leave_room() -> None:
    window = filled(3, [(2.0, 1.0, True)] * 9)
    loss, norm = window.ceiling(10)
    assert 2 < loss < 2.01 and 1 < norm < 1.01
    assert max(window.scores(10, 0.0, 0.0)) < 0
    assert filled(3, [(0.0, 0.0, True)] * 9).ceiling(10) == (THRESHOLD, THRESHOLD)


def test_a_lasting_level_enters_the_window_only_if_its_updates_are_applied() -> None:
    window = filled(4, [(1.0, 1.0, True)] * 9 + [(9.0, 9.0, False)] * 9)
    assert window.ceiling(19)[0] < 1.1
    assert filled(4, [(1.0, 1.0, True)] * 9 + [(9.0, 9.0, True)] * 9).ceiling(19)[0] > 9
