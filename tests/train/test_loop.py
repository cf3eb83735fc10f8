import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from data.batch import TokenRows
from launch.run import build
from tests.models import SMALL, TRAIN, batch_of, mesh_of, shapes_of
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.saver import RunSaver
from train.config import BadNumbersConfig, CheckpointConfig, TrainConfig
from train.feed import Feed
from train.guard.bad_numbers import Guard
from train.loop import Evaluation, Instruments, TrainProgram, fit
from train.report.phases import Phases
from train.report.profile import Profile
from train.report.record import Place, Recorder
from train.report.throughput import Throughput
from train.report.writers import Record
from train.state import TrainState

START = Place(step=0, examples=0)
SKIP = BadNumbersConfig(non_finite="skip", spikes="skip", window=8, threshold=3.0)
B, T = TRAIN.batch_size, SMALL.max_length


@pytest.fixture(scope="module")
def compiled() -> tuple:
    with jax.set_mesh(mesh_of()):
        shapes = jax.eval_shape(build.fresh_state(SMALL, TRAIN))
        step, seconds = build.compile_train_step(shapes, TRAIN, shapes_of(TRAIN.batch_size, T))
        assert seconds > 0
        return jax.jit(build.fresh_state(SMALL, TRAIN)), step


def batches_from(
    start: int, bad_at: int | None = None, odd_at: int | None = None
) -> Iterator[TokenRows]:
    """TokenRows b is the same whichever batch one starts from."""
    for number in itertools.count(start // B):
        batch = batch_of(seed=number)
        if number == odd_at:
            batch.targets[:] = batch.targets[0, 0]
        if number == bad_at:
            batch.weights[:] = np.nan
        yield batch


def run(
    compiled: tuple,
    path: Path,
    *,
    steps: int,
    config: TrainConfig = TRAIN,
    state: TrainState | None = None,
    place: Place = START,
    bad_at: int | None = None,
    odd_at: int | None = None,
    kept: dict[str, Any] | None = None,
    evaluate: Callable[[TrainState, int], dict[str, float]] | None = None,
    profile: tuple[int, int] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[TrainState, Place, list[Record], list[str], Checkpointer]:
    fresh, step = compiled
    records: list[Record] = []
    said: list[str] = []
    throughput = Throughput(flops_per_token=1.0, device_kind="cpu", num_devices=1)
    checkpointer = Checkpointer(path, config.checkpoint)
    guard = Guard(config.bad_numbers, said.append, lambda a, b: f"data rows {a} to {b - 1}", kept)
    phases = Phases()
    recorder = Recorder(
        config, throughput, records.append, guard, phases, tokens_per_row=T, end=steps * B
    )
    with jax.set_mesh(mesh_of()):
        feed = Feed(
            batches_from(place.examples, bad_at, odd_at),
            start=place.examples,
            batch_size=B,
            schedule=lambda examples: 0.01,
        )
        try:
            state, place = fit(
                fresh() if state is None else state,
                place,
                end=steps * B,
                program=TrainProgram(step, evaluate and Evaluation(config.eval_every, evaluate)),
                batches=feed,
                saver=RunSaver(checkpointer, {"config": {}}),
                instruments=Instruments(
                    recorder, Profile(profile, path / "profile", phases), phases
                ),
                stop=stop,
            )
        finally:
            feed.close()
            checkpointer.close()
    return state, place, records, said, checkpointer


def every_step(**checkpoint: Any) -> TrainConfig:
    return dataclasses.replace(TRAIN, log_every=1, checkpoint=CheckpointConfig(**checkpoint))


def test_records_every_step_with_what_users_read(compiled: tuple, tmp_path: Path) -> None:
    _, place, records, _, checkpointer = run(compiled, tmp_path, steps=4, config=every_step())
    assert place == Place(step=4, examples=4 * B)
    assert [r["step"] for r in records] == [1, 2, 3, 4]
    assert [r["examples_seen"] for r in records] == [B, 2 * B, 3 * B, 4 * B]
    assert [r["tokens_seen"] for r in records] == [i * B * T for i in (1, 2, 3, 4)]
    wanted = (
        "loss learning_rate grad_norm tokens_per_second flops_per_second step_seconds data_wait"
    )
    assert set(wanted.split()) <= set(records[0])
    assert all(0 <= float(r["data_wait"]) <= 1 for r in records)
    assert checkpointer.steps() == [4]
    assert checkpointer.read_meta()["examples_seen"] == 4 * B


def test_log_every_keeps_the_first_and_the_last_step(compiled: tuple, tmp_path: Path) -> None:
    config = dataclasses.replace(every_step(), log_every=3)
    _, _, records, _, _ = run(compiled, tmp_path, steps=5, config=config)
    assert [r["step"] for r in records] == [1, 3, 5]


def test_saves_and_evaluates_when_due_and_keeps_the_loss(compiled: tuple, tmp_path: Path) -> None:
    measured: list[int] = []

    def evaluate(state: TrainState, step: int) -> dict[str, float]:
        assert int(state.step) == step
        measured.append(step)
        return {"eval_loss": 10.0 - step}

    config = dataclasses.replace(every_step(every_steps=2, keep_latest=9), eval_every=3)
    _, _, _, _, checkpointer = run(compiled, tmp_path, steps=7, config=config, evaluate=evaluate)
    assert measured == [3, 6, 7]
    assert checkpointer.steps() == [2, 4, 6, 7]
    assert checkpointer.read_meta(6)["metrics"] == {"eval_loss": 4.0}


def test_stopped_and_resumed_equals_never_stopped(compiled: tuple, tmp_path: Path) -> None:
    config = every_step(every_steps=3)
    straight, _, records, _, _ = run(compiled, tmp_path / "a", steps=6, config=config)
    _, place, first, _, checkpointer = run(compiled, tmp_path / "b", steps=3, config=config)
    with jax.set_mesh(mesh_of()):
        shapes = jax.eval_shape(build.fresh_state(SMALL, TRAIN))
        state = checkpointer.restore(shapes)
    resumed, _, second, _, _ = run(
        compiled, tmp_path / "b", steps=6, config=config, state=state, place=place
    )
    assert [r["loss"] for r in first + second] == [r["loss"] for r in records]
    for a, b in zip(jax.tree.leaves(resumed), jax.tree.leaves(straight), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_loss_that_is_not_finite_stops_and_names_step_and_rows(
    compiled: tuple, tmp_path: Path
) -> None:
    config = every_step(every_steps=1, keep_latest=9)
    with pytest.raises(
        ValueError, match=r"loss=nan .* of step 3 \(data rows 16 to 23\) must be finite"
    ):
        run(compiled, tmp_path, steps=5, config=config, bad_at=2)
    assert Checkpointer(tmp_path, config.checkpoint).steps() == [1, 2]


def test_a_loss_that_is_not_finite_is_dropped_and_said(compiled: tuple, tmp_path: Path) -> None:
    config = dataclasses.replace(every_step(), bad_numbers=SKIP)
    state, _, records, said, _ = run(compiled, tmp_path, steps=5, config=config, bad_at=2)
    assert said == [s for s in said if "step 3 (data rows 16 to 23)" in s] and len(said) == 1
    assert [r["dropped_updates"] for r in records] == [0, 0, 1, 1, 1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.model))


def test_stopped_at_any_step_ceilings_continue_as_if_it_had_not(
    compiled: tuple, tmp_path: Path
) -> None:
    """Batch 11 is one of a kind; that and what else is a spike are the same steps, bit for bit."""
    config = dataclasses.replace(every_step(every_steps=1, keep_latest=99), bad_numbers=SKIP)
    fresh, step = compiled
    ceilings: dict[int, list[float]] = {}

    def noted(state: TrainState, batch: TokenRows, rate: Any, ceiling: Any) -> tuple:
        number = int(state.step) + 1
        limits = np.asarray(ceiling).tolist()
        assert ceilings.setdefault(number, limits) == limits, f"step {number}"
        return step(state, batch, rate, ceiling)

    last = 16
    late = dataclasses.replace(config, checkpoint=CheckpointConfig(every_steps=None))
    states = []
    straight, *_ = run((fresh, noted), tmp_path / "late", steps=last, config=late, odd_at=11)
    _, _, _, said, checkpointer = run(
        (fresh, noted), tmp_path / "all", steps=last, config=config, odd_at=11
    )
    assert [line for line in said if "of step 12 (data rows 88 to 95) are a spike" in line]
    assert np.isinf(ceilings[9]).all() and np.isfinite(ceilings[10]).all()
    for stopped in (7, 9, 10, 11, 12, 13):
        with jax.set_mesh(mesh_of()):
            state = checkpointer.restore(jax.eval_shape(fresh), stopped)
        meta = checkpointer.read_meta(stopped)
        resumed, _, records, *_ = run(
            (fresh, noted),
            tmp_path / str(stopped),
            steps=last,
            config=late,
            state=state,
            place=Place(step=stopped, examples=meta["examples_seen"]),
            kept=meta["bad_numbers"],
            odd_at=11,
        )
        states.append(resumed)
        assert records[-1]["dropped_updates"] == len(said)
    for state in states:
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(straight), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_run_that_only_drops_updates_ends(compiled: tuple, tmp_path: Path) -> None:
    fresh, step = compiled

    def never_finite(*arguments: object) -> tuple:
        state, metrics = step(*arguments)
        return state, metrics._replace(loss=np.float32(np.nan), updated=np.float32(0))

    config = dataclasses.replace(every_step(), bad_numbers=SKIP)
    with pytest.raises(ValueError, match="20 updates in a row were dropped"):
        run((fresh, never_finite), tmp_path, steps=40, config=config)


def test_the_host_waits_for_no_step_that_is_under_way(
    compiled: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each step one device_get, after the next step was dispatched; nothing else is read."""
    events: list[str] = []
    fresh, step = compiled
    read = jax.device_get

    def counted(tree: object) -> object:
        events.append("read")
        return read(tree)

    def dispatched(*arguments: object) -> object:
        events.append("step")
        return step(*arguments)

    monkeypatch.setattr(jax, "device_get", counted)
    config = dataclasses.replace(every_step(every_steps=None), log_every=100)
    run((fresh, dispatched), tmp_path, steps=5, config=config)
    assert events == [
        "step",
        "step",
        "read",
        "step",
        "read",
        "step",
        "read",
        "step",
        "read",
        "read",
    ]


def test_a_finished_run_does_nothing(compiled: tuple, tmp_path: Path) -> None:
    place = Place(step=4, examples=4 * B)
    _, ended, records, _, checkpointer = run(compiled, tmp_path, steps=4, place=place)
    assert (ended, records, checkpointer.steps()) == (place, [], [])


def test_profile_writes_a_trace_of_the_window(compiled: tuple, tmp_path: Path) -> None:
    run(compiled, tmp_path, steps=4, config=every_step(), profile=(1, 3))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
