"""What `fit` costs over calling the bare compiled step in a loop."""

import time
from pathlib import Path

import jax

from data.config import DataConfig
from data.rows.rows import Rows
from launch.run import build
from model.flops import flops_per_token
from tests.bench import timing
from tests.bench.baseline import BaselineSizes
from tests.bench.reference import Reference, make_reference
from train.checkpoint.checkpointer import Checkpointer
from train.checkpoint.saver import RunSaver
from train.config import CheckpointConfig
from train.feed import Feed, local_rows
from train.guard.bad_numbers import Guard
from train.loop import Instruments, TrainProgram, fit
from train.report.phases import Phases
from train.report.profile import Profile
from train.report.record import Place, Recorder
from train.report.throughput import Throughput
from train.report.writers import JsonlWriter, Record
from train.state import TrainState

BAR = 1.01


def measure(sizes: BaselineSizes, folder: Path, rounds: int, steps: int) -> dict[str, object]:
    """Milliseconds a step, by `fit` (rows from a store, a record every step) and bare, in turns."""
    reference = make_reference(sizes, steps=steps)
    data = DataConfig(
        sources=("synthetic:2000000",),
        sequence_length=sizes.length,
        packing=False,
        cache_dir=str(folder / "cache"),
    )
    rows = data.open_rows("train")
    state = reference.fresh_state()
    seconds: dict[str, list[float]] = {"fit": [], "bare": []}
    for number in range(rounds + 1):
        state, by_fit = _fit(reference, state, rows, folder / str(number), steps)
        state, bare = _bare(reference, state, steps)
        seconds["fit"].append(by_fit)
        seconds["bare"].append(bare)
    # The first round opens files and warms caches.
    timed = {name: values[1:] for name, values in seconds.items()}
    result: dict[str, object] = {name: timing.milliseconds(s) for name, s in timed.items()}
    return result | {"ratio": timing.ratio(timed["fit"], timed["bare"]), "bar": BAR}


def _bare(reference: Reference, state: TrainState, steps: int) -> tuple[TrainState, float]:
    """Seconds a step, from the end of the first step to the end of the last."""
    began = 0.0
    for number in range(steps):
        state, _ = reference.step(
            state, reference.batch, reference.learning_rate, reference.ceiling
        )
        if number == 0:
            jax.block_until_ready(state)
            began = time.perf_counter()
    jax.block_until_ready(state)
    return state, (time.perf_counter() - began) / (steps - 1)


def _fit(
    reference: Reference, state: TrainState, rows: Rows, folder: Path, steps: int
) -> tuple[TrainState, float]:
    """Seconds a step, from the record of the first step to the record of the last."""
    train, length = reference.train, reference.model.max_length
    folder.mkdir()
    stamps: list[float] = []
    writer = JsonlWriter(folder / "metrics.jsonl")

    def write(record: Record) -> None:
        writer.write(record)
        stamps.append(time.perf_counter())

    throughput = Throughput(
        flops_per_token=flops_per_token(reference.model, length),
        device_kind=jax.devices()[0].device_kind,
        num_devices=jax.device_count(),
    )
    end = steps * train.batch_size
    feed = Feed(
        rows.batches(0, train.batch_size, local_rows(train.batch_size)),
        start=0,
        batch_size=train.batch_size,
        schedule=build.schedule(train, train.batch_size),
    )
    saver = Checkpointer(folder / "checkpoints", CheckpointConfig(every_steps=None))
    guard = Guard(train.bad_numbers, print, lambda first, after: f"rows {first} to {after - 1}")
    phases = Phases()
    recorder = Recorder(train, throughput, write, guard, phases, tokens_per_row=length, end=end)
    state, _ = fit(
        state,
        Place(step=0, examples=0),
        end=end,
        program=TrainProgram(reference.step),
        batches=feed,
        saver=RunSaver(saver, {}),
        instruments=Instruments(recorder, Profile(None, folder, phases), phases),
        stop=lambda: False,
    )
    feed.close()
    saver.close()
    writer.close()
    return state, (stamps[-1] - stamps[0]) / (steps - 1)
