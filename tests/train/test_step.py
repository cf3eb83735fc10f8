import dataclasses
import functools

import jax
import numpy as np
import pytest

from data.batch import TokenRows
from tests.models import SMALL, TRAIN, batch_of, changed, mesh_of, placed
from train.config import TrainConfig
from train.feed import replicated
from train.guard.spikes import NO_CEILING
from train.state import TrainState, init_state
from train.step import Metrics, gradients, make_eval_step, make_train_step


def fresh(config: TrainConfig) -> TrainState:
    return jax.jit(lambda: init_state(SMALL, config.optimizer, jax.random.key(0)))()


@functools.cache
def step_of(config: TrainConfig):
    return make_train_step(config)


def run(config: TrainConfig, batch: TokenRows, steps: int = 1) -> tuple[TrainState, list[Metrics]]:
    state, actual = fresh(config), []
    for _ in range(steps):
        state, metrics = step_of(config)(
            state, placed(batch), replicated(1e-2), replicated(NO_CEILING)
        )
        actual.append(jax.device_get(metrics))
    return state, actual


def values(tree: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_loss_falls_and_the_state_counts() -> None:
    with jax.set_mesh(mesh_of(fsdp=2)):
        state, metrics = run(TRAIN, batch_of(), steps=5)
    assert int(state.step) == 5
    assert metrics[-1].loss < metrics[0].loss - 0.1
    assert all(m.updated == 1 for m in metrics)


def test_accumulation_gives_the_loss_and_gradient_of_a_large_batch() -> None:
    batch = batch_of()
    with jax.set_mesh(mesh_of(fsdp=2)):
        model = fresh(TRAIN).model
        (loss, grads, targets), (loss_4, grads_4, targets_4) = (
            jax.jit(lambda m, b, c=c: gradients(m, b, c))(model, placed(batch))
            for c in (TRAIN, dataclasses.replace(TRAIN, accumulation=4))
        )
    assert float(loss) == pytest.approx(float(loss_4), rel=1e-5)
    assert targets == targets_4
    norm = np.sqrt(sum(float((g**2).sum()) for g in values(grads)))
    apart = np.sqrt(
        sum(
            float(((a - b) ** 2).sum()) for a, b in zip(values(grads), values(grads_4), strict=True)
        )
    )
    assert apart < 2e-6 * norm


def test_a_micro_batch_without_targets_does_not_count() -> None:
    batch = batch_of()
    weights = batch.weights.copy()
    weights[::4] = 0
    with jax.set_mesh(mesh_of()):
        config = dataclasses.replace(TRAIN, accumulation=4)
        model = fresh(TRAIN).model
        whole, four = (
            jax.jit(lambda m, b, c=c: gradients(m, b, c)[0])(
                model, placed(batch._replace(weights=weights))
            )
            for c in (TRAIN, config)
        )
    assert float(whole) == pytest.approx(float(four), rel=1e-5)


@pytest.mark.parametrize("fault", ["loss", "loss above", "norm above"])
def test_a_bad_step_changes_nothing_but_the_count(fault: str) -> None:
    with jax.set_mesh(mesh_of()):
        state, actual = run(TRAIN, batch_of(), steps=2)
        before = values((state.model, state.optimizer))
        batch, ceiling = batch_of(), NO_CEILING
        if fault == "loss":
            batch = batch._replace(weights=np.full_like(batch.weights, np.inf))
        elif fault == "loss above":
            ceiling = (float(actual[-1].loss) / 2, np.inf)
        else:
            ceiling = (np.inf, float(actual[-1].grad_norm) / 2)
        step = step_of(TRAIN)
        state, metrics = step(state, placed(batch), replicated(1e-2), replicated(ceiling))
    assert metrics.updated == 0
    assert int(state.step) == 3
    for a, b in zip(before, values((state.model, state.optimizer)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_at_its_ceiling_is_as_without_a_ceiling() -> None:
    with jax.set_mesh(mesh_of()):
        (free, (at,)), state = run(TRAIN, batch_of()), fresh(TRAIN)
        ceiling = replicated((float(at.loss), float(at.grad_norm)))
        state, metrics = step_of(TRAIN)(state, placed(batch_of()), replicated(1e-2), ceiling)
    assert metrics.updated == 1
    for a, b in zip(values(free), values(state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_clipping_bounds_the_gradient_lion_sees() -> None:
    """SGD would show it directly; Adam's first step does not depend on scale, its moments do."""
    with jax.set_mesh(mesh_of()):
        state, metrics = run(changed(TRAIN, clip_norm=0.25), batch_of())
        mean = state.optimizer[0].mu
        norm = np.sqrt(sum(float((m**2).sum()) for m in values(mean)))
    assert metrics[0].grad_norm > 0.25
    assert norm == pytest.approx(0.25 * (1 - TRAIN.optimizer.beta1), rel=1e-4)


def test_average_follows_the_parameters_and_is_what_evaluation_uses() -> None:
    with jax.set_mesh(mesh_of()):
        first = values(fresh(TRAIN).model)
        state, _ = run(changed(TRAIN, ema_decay=0.75), batch_of())
        assert state.evaluated is state.average
        for start, now, mean in zip(first, values(state.model), values(state.average), strict=True):
            np.testing.assert_allclose(mean, 0.75 * start + 0.25 * now, rtol=1e-5, atol=1e-7)


def test_evaluation_sums_are_the_training_loss_of_the_same_rows() -> None:
    with jax.set_mesh(mesh_of(fsdp=2)):
        state = fresh(TRAIN)
        sums = make_eval_step(TRAIN)(state.model, placed(batch_of()))
        _, (metrics,) = run(TRAIN, batch_of())
    assert sums.loss / sums.weight == pytest.approx(float(metrics.loss), rel=1e-5)


def test_the_old_state_is_donated() -> None:
    with jax.set_mesh(mesh_of()):
        state = fresh(TRAIN)
        table = state.model.embedding.table[...]
        step_of(TRAIN)(state, placed(batch_of()), replicated(1e-2), replicated(NO_CEILING))
        assert table.is_deleted()
