"""The measurement of the input pipeline runs."""

from pathlib import Path

from data.config import DataConfig
from tests.bench.rows import measure


def test_opening_and_both_shapes_are_measured(tmp_path: Path) -> None:
    config = DataConfig(sources=("synthetic:20000",), cache_dir=str(tmp_path))
    results = measure(config, rounds=1)
    assert len(results) == 3 and all(value > 0 for value in results.values())
