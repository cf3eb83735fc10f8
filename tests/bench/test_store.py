"""The comparison of token stores runs, and every reader reads the same."""

from pathlib import Path

import numpy as np

from data.stream import Stream
from tests.bench import store


def test_readers_agree(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 50_000, 100_000, np.uint16)
    ours = Stream([store._shard(tmp_path, values)]).read
    checked = store._always_checked(store._shard(tmp_path, values))
    other = store._tensorstore(tmp_path / "zarr3", values, cache=0)
    starts = np.array([0, 32_700, 99_700])
    for read in (ours, checked, other):
        out = np.empty((3, 300), np.int32)
        read(starts, out)
        np.testing.assert_array_equal(out, [values[s : s + 300] for s in starts])


def test_every_access_is_measured(tmp_path: Path) -> None:
    results = store.compare(tmp_path, tokens=300_000, rounds=1)
    assert len(results) == 4
    for rates in results.values():
        assert len(rates) == 8 and all(rate > 0 for rate in rates.values())
