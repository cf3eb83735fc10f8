"""How fast rows come, alone in one process, as JSON: `python -m tests.bench.rows`."""

import itertools
import json
import statistics
import time
from typing import Annotated

import numpy as np
from annotated_types import Interval

from data.config import DataConfig
from launch.process.progress import Progress
from launch.schema.command_line import run_module

DEFAULT = DataConfig()


def main(data: DataConfig = DEFAULT, rounds: Annotated[int, Interval(ge=1, le=10_000)] = 9) -> None:
    """Print seconds to open a store that is there, and millions of tokens a second by shape.

    Args:
        data: The data; made first if the cache lacks them.
        rounds: Rounds of about 100,000 tokens for each shape.
    """
    with Progress() as report:
        report(f"measuring {rounds} rounds of reading rows")
        measured = measure(data, rounds)
    print(json.dumps(measured, indent=2))


def measure(data: DataConfig, rounds: int) -> dict[str, float]:
    """Seconds to open the store, and millions of tokens a second for batches of 8 and 64 rows."""
    rows = data.open_rows("train")
    began = time.perf_counter()
    data.open_rows("train")
    results = {"seconds to open": round(time.perf_counter() - began, 4)}
    for size in (8, 64):
        batches = rows.batches(0, size, np.arange(size))
        next(batches)
        count = max(100_000 // (size * data.sequence_length), 1)
        seconds = []
        for _ in range(rounds):
            began = time.perf_counter()
            for _ in itertools.islice(batches, count):
                pass
            seconds.append(time.perf_counter() - began)
        rate = count * size * data.sequence_length / statistics.median(seconds) / 1e6
        results[f"M tokens/s, {size} rows of {data.sequence_length}"] = round(rate, 2)
    return results


if __name__ == "__main__":
    run_module(main, "tests.bench.rows")
