"""Objectives of images, next to NumPy's arithmetic on the scores of the model."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from tests.families import QUICK
from tests.images import MEAN, TAGS, batch_for
from tests.models import TRAIN, mesh_of, placed
from train.objective import Sums, objective_of

SMOOTHED = dataclasses.replace(TRAIN, label_smoothing=0.2, z_loss=0.1)


def asked(config: Any, batch: Any) -> Sums:
    def ask(batch: Any) -> Sums:
        return objective_of(type(batch))(config.build(jax.random.key(0)), batch, SMOOTHED, None)

    with jax.set_mesh(mesh_of()):
        return jax.jit(ask, compiler_options=QUICK)(placed(batch))


def test_a_mixed_image_is_asked_for_both_labels_by_their_shares() -> None:
    rows: Any = batch_for(MEAN)
    sums = asked(MEAN, rows)
    scores = np.asarray(sums.outputs, np.float64)
    normalizer = np.log(np.exp(scores).sum(-1))
    labels = np.eye(scores.shape[-1])
    shares = rows.shares[:, None]
    target = shares * labels[rows.targets] + (1 - shares) * labels[rows.others]
    smooth = 0.8 * target + 0.2 / scores.shape[-1]
    nll = normalizer - (target * scores).sum(-1)
    minimized = normalizer - (smooth * scores).sum(-1) + 0.1 * normalizer**2
    assert float(sums.loss) == pytest.approx(rows.weights @ nll, rel=1e-5)
    assert float(sums.minimized) == pytest.approx(rows.weights @ minimized, rel=1e-5)
    assert float(sums.weight) == pytest.approx(rows.weights.sum())


def test_patches_are_asked_without_the_tokens_before_them() -> None:
    rows: Any = batch_for(TAGS)
    sums = asked(TAGS, rows)
    assert sums.outputs.shape == rows.targets.shape
    assert float(sums.weight) == rows.weights.sum()
    one_less = rows._replace(targets=rows.targets[:, 1:], weights=rows.weights[:, 1:])
    count = rows.targets.shape[1]
    message = rf"patch_size .* as many patches as .* places, {count}, .* gives {count - 1}; try"
    with pytest.raises(ValueError, match=message):
        asked(TAGS, one_less)
