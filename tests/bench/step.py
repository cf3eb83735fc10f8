"""Our train step next to the hand-written one of `baseline`, in turns on the same batch."""

import json
import shlex
import subprocess
from collections.abc import Callable

import jax

from tests.bench import baseline, timing
from tests.bench.baseline import BaselineSizes
from tests.bench.batch import random_batch
from tests.bench.reference import Reference, make_reference

BAR = 1.03
PACKED = "ours, packed rows"


def measure(sizes: BaselineSizes, rounds: int, compare: str | None = None) -> dict[str, object]:
    """Step times in milliseconds and our ratio to the baseline.

    `compare` is a command that prints a JSON line with `median_ms` for the same model, such as a
    step of another framework; it runs afterwards and its line is taken in.
    """
    ours = make_reference(sizes)
    calls = {
        "baseline": _baseline(sizes),
        "ours": timed(ours),
        PACKED: timed(make_reference(sizes, packed=True)),
    }
    seconds = timing.in_turns(calls, rounds)
    result: dict[str, object] = {name: timing.milliseconds(s) for name, s in seconds.items()}
    result["ratio"] = timing.ratio(seconds["ours"], seconds["baseline"])
    result["ratio, packed rows"] = timing.ratio(seconds[PACKED], seconds["baseline"])
    result["bar"] = BAR
    result["compile_seconds"] = round(ours.compile_seconds, 2)
    tokens = sizes.batch * sizes.length
    result["tokens_per_second"] = round(tokens / sorted(seconds["ours"])[rounds // 2])
    if compare:
        result["compared"] = last_json(compare)
    return result


def _baseline(sizes: BaselineSizes) -> Callable[[], object]:
    step = baseline.make_step(sizes)
    state = jax.jit(lambda: baseline.init(sizes, jax.random.key(0)))()
    batch = random_batch(sizes.batch, sizes.length, sizes.vocab_size)
    tokens, targets = jax.device_put((batch.tokens, batch.targets))

    def call() -> float:
        nonlocal state
        state, loss = step(state, tokens, targets)
        return float(loss)

    return call


def timed(reference: Reference) -> Callable[[], object]:
    """A step of the reference, each from the state that the last one left."""
    state = reference.fresh_state()

    def call() -> float:
        nonlocal state
        state, metrics = reference.step(
            state, reference.batch, reference.learning_rate, reference.ceiling
        )
        return float(metrics.loss)

    return call


def last_json(command: str) -> dict[str, object]:
    """The object on the last line the command prints; ValueError if the command fails."""
    done = subprocess.run(shlex.split(command), capture_output=True, text=True)
    if done.returncode:
        raise ValueError(
            f"compare={command!r} must run, because its step is to be compared, but it ended with "
            f"{done.returncode}: {done.stderr.strip()[-500:]}; try it by itself first"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])
