"""The comparison of tests/numbers: it sees each difference, and no other."""

import pytest

from tests.numbers import comparison
from tests.numbers.comparison import differences, flat

RUN = {"time": 7.0, "steps": [{"loss": 5.5, "versions": {"jax": "1"}}], "skipped": []}
OLD = flat(RUN, "train.tiny") | {"ladder fit.alpha": 0.34, "plan.tiny.time.seconds": 0.1}


def test_equal_tables_are_equal_and_volatile_values_left_out() -> None:
    assert flat(RUN, "train.tiny") == {"train.tiny.steps.0.loss": 5.5, "train.tiny.skipped": []}
    assert differences(OLD, dict(OLD)) == ([], 4)
    named = [{"name": "a", "bytes": 1}, {"name": "b", "bytes": 2}]
    assert flat(named[::-1], "plan") == flat(named, "plan")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("train.tiny.steps.0.loss", 5.5 + 1e-15),
        ("train.tiny.skipped", [1]),
        ("plan.tiny.time.seconds", 0.1 * (1 + 1e-9)),
        ("ladder fit.alpha", 0.34 * (1 + 2e-6)),
        ("another", 1),
    ],
)
def test_every_other_value_is_a_difference(name: str, value: object) -> None:
    (line,), equal = differences(OLD, OLD | {name: value})
    assert line.startswith(f"{name}: was ") and equal == 4 - (name in OLD)
    assert len(differences(OLD | {name: value}, OLD)[0]) == 1


def test_fitted_constants_may_move_a_little_and_keys_be_renamed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    near = {"ladder fit.alpha": 0.34 * (1 + 5e-7)}
    assert differences(OLD, OLD | near) == ([], 4)
    monkeypatch.setitem(comparison.RENAMED, "tiny.steps", "tiny.records")
    monkeypatch.setitem(comparison.ADDED, "model.kind", "decoder")
    new = {name.replace("steps", "records"): value for name, value in OLD.items()}
    assert differences(OLD, new | {"plan.model.kind": "decoder"}) == ([], 5)
    assert len(differences(OLD, new | {"plan.model.kind": "encoder"})[0]) == 1
    assert len(differences(OLD, new | {"plan.other_model.kind": "decoder"})[0]) == 1
