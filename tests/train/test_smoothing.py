"""Smoothed targets: minimized by the objectives of classes, reported by none, refused by the
others."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from model.families.encoder import Encoder
from tests.families import QUICK
from tests.models import TRAIN, mesh_of, placed
from tests.questions import asked, batch_for
from train.objective import Sums, objective_of

SMOOTHED = dataclasses.replace(TRAIN, label_smoothing=0.2)


def test_smoothed_targets_are_minimized_and_not_reported() -> None:
    rows: Any = batch_for("labels")

    def ask(batch: Any) -> Sums:
        model = Encoder(asked("labels"), jax.random.key(0))
        return objective_of(type(batch))(model, batch, SMOOTHED, None)

    with jax.set_mesh(mesh_of()):
        sums = jax.jit(ask, compiler_options=QUICK)(placed(rows))
    scores = np.asarray(sums.outputs, np.float64)
    log_shares = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    right = np.take_along_axis(log_shares, rows.targets[:, None], 1)[:, 0]
    smooth = 0.8 * right + 0.2 * log_shares.mean(-1)
    assert float(sums.loss) == pytest.approx(-(rows.weights * right).sum(), rel=1e-5)
    assert float(sums.minimized) == pytest.approx(-(rows.weights * smooth).sum(), rel=1e-5)
    assert abs(float(sums.minimized - sums.loss)) > 1e-3


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ("several", "several labels"),
        ("number", "numbers"),
        ("span", "answers in a context"),
        ("embedding", "embeddings"),
    ],
)
def test_targets_that_are_no_class_are_not_smoothed(question: str, what: str) -> None:
    batch = batch_for(question)
    objective = objective_of(type(batch))
    words = rf"^train\.label_smoothing=0\.2 must be 0 for {what}, because .*--train\.label-smoo"
    with pytest.raises(ValueError, match=words):
        objective(None, batch, SMOOTHED, None)
