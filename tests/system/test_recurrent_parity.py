"""Recurrent networks, with dropout: loss and gradients are the same on every mesh."""

import functools
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from data.batch import SourceTargetRows
from model.families.recurrent_config import (
    CellsConfig,
    RecurrentConfig,
    RecurrentEncoderDecoderConfig,
)
from model.head_config import HeadConfig
from tests.families import QUICK
from tests.models import TRAIN, batch_of, mesh_of, placed
from tests.questions import B, C, V, batch_for
from tests.system.test_mesh_parity import COMPLAINT, compiled_again  # noqa: F401
from train.step import gradients, step_key

SMALL: dict[str, Any] = {
    "vocab_size": V,
    "vocab_multiple": 8,
    "num_layers": 2,
    "embed_dim": 16,
    "hidden_dim": 16,
    "dropout": 0.2,
    "dtype": "float32",
}
LANGUAGE = RecurrentConfig(**SMALL)
LABELS = HeadConfig(kind="labels", outputs=C, pooling="mean")
TAGS = RecurrentConfig(
    **SMALL, cell="gru", bidirectional=True, head=HeadConfig(kind="tags", outputs=C)
)
PAIRS = RecurrentEncoderDecoderConfig(**{**SMALL, "num_layers": 1}, bidirectional=True)
FAR = 2e-6
"""Distance at most, as a share of a leaf's largest entry."""


def pairs() -> SourceTargetRows:
    """Rows of two pairs of unequal lengths; one row does not count."""
    draw = np.random.default_rng(0)
    tokens = draw.integers(0, V, (3, B, 8)).astype(np.int32)
    read = np.tile(np.repeat([1, 2, 0], [3, 4, 1]), (B, 1)).astype(np.int32)
    own = np.tile(np.repeat([1, 2, 0], [4, 2, 2]), (B, 1)).astype(np.int32)
    none = np.zeros_like(read)
    weights = (own * (np.arange(B) != 1)[:, None]).astype(np.float32)
    return SourceTargetRows(tokens[0], none, read, tokens[1], tokens[2], none, own, weights)


CASES: dict[str, tuple[CellsConfig, Any]] = {
    "language": (LANGUAGE, batch_of(T=8, V=V)),
    "labels": (
        replace(
            LANGUAGE, bidirectional=True, head=HeadConfig(kind="labels", outputs=C, pooling="mean")
        ),
        batch_for("labels"),
    ),
    "tags": (TAGS, batch_for("tags")),
    "pairs": (PAIRS, pairs()),
}


@functools.cache
def loss_and_gradients(case: str, **sizes: int) -> tuple[float, dict[str, np.ndarray]]:
    config, batch = CASES[case]
    with jax.set_mesh(mesh_of(**sizes)):
        step = functools.partial(gradients, config=TRAIN, key=step_key(0, 3))
        model = jax.jit(lambda: config.build(jax.random.key(0)), compiler_options=QUICK)()
        loss, grads, _ = jax.jit(step, compiler_options=QUICK)(model, placed(batch))
        leaves, _ = jax.tree.flatten_with_path(grads)
        return float(loss), {jax.tree_util.keystr(p): np.asarray(g, np.float64) for p, g in leaves}


@pytest.mark.parametrize(
    "case",
    [
        "language",
        "pairs",
        *(pytest.param(case, marks=pytest.mark.long) for case in ("labels", "tags")),
    ],
)
@pytest.mark.usefixtures("compiled_again")
def test_loss_and_gradients_are_those_of_a_single_device(
    case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    loss, grads = loss_and_gradients(case, replica=2, fsdp=2)
    assert COMPLAINT not in capfd.readouterr().err
    wanted_loss, wanted = loss_and_gradients(case)
    assert loss == pytest.approx(wanted_loss, rel=FAR)
    for name, leaf in wanted.items():
        largest = float(np.abs(leaf).max())
        assert largest > 0 and np.abs(grads[name] - leaf).max() <= FAR * largest, name
