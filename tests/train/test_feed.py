"""Rows by their numbers: what reaches the devices, on any mesh, batch size and number of
processes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest

from data.batch import TokenRows
from model.sharding import spec
from tests.command import ROOT
from tests.models import mesh_of
from train.feed import Feed, local_rows, replicated

T = 4


class Numbered:
    """Rows whose tokens are their number in the training order."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last

    def batches(self, start: int, batch_size: int, rows: np.ndarray) -> Iterator[TokenRows]:
        while self.last is None or start < self.last:
            ids = np.tile((start + rows).astype(np.int32)[:, None], (1, T))
            yield TokenRows(ids, ids, ids, ids, ids.astype(np.float32))
            start += batch_size


def fed(start: int, steps: int, batch_size: int, **mesh: int) -> list[int]:
    """Numbers of the rows that `steps` steps from row `start` train on."""
    with jax.set_mesh(mesh_of(**mesh)):
        batches = Numbered().batches(start, batch_size, local_rows(batch_size))
        feed = Feed(batches, start=start, batch_size=batch_size, schedule=float)
        seen: list[int] = []
        for i in range(steps):
            item = next(feed)
            assert item.rows == (start + i * batch_size, start + (i + 1) * batch_size)
            assert isinstance(item.batch, TokenRows)
            assert item.rate == float(item.learning_rate) == item.rows[0]
            assert item.batch.tokens.sharding.spec == spec("batch", "length")
            seen += np.asarray(item.batch.tokens)[:, 0].tolist()
        feed.close()
        return seen


def test_eight_then_four_devices_see_each_row_once() -> None:
    seen = fed(0, 3, 8, fsdp=8) + fed(24, 2, 8, replica=2, fsdp=2) + fed(40, 2, 8, tensor=2)
    assert seen == list(range(56))


def test_another_batch_size_skips_and_repeats_no_row() -> None:
    assert fed(0, 3, 8, fsdp=4) + fed(24, 2, 16, fsdp=8) + fed(56, 4, 2) == list(range(64))


def test_two_processes_share_the_rows_of_a_batch(tmp_path: Path) -> None:
    program = (
        "import json, sys, jax, numpy as np\n"
        "import launch.process.distributed\n"
        "from launch.config import DistributedConfig, MeshConfig\n"
        "from launch.process.mesh import make_mesh\n"
        "launch.process.distributed.start(DistributedConfig())\n"
        "from tests.train.test_feed import Numbered\n"
        "from train.feed import Feed, local_rows\n"
        "with jax.set_mesh(make_mesh(MeshConfig())):\n"
        "    rows = local_rows(8)\n"
        "    feed = Feed(Numbered().batches(24, 8, rows), start=24, batch_size=8, schedule=float)\n"
        "    tokens = next(feed).batch.tokens\n"
        "    shards = [np.asarray(s.data)[:, 0].tolist() for s in tokens.addressable_shards]\n"
        "    total = int(jax.jit(lambda t: t.sum())(tokens))\n"
        "    reported = [(24 + rows).tolist(), sum(shards, []), total]\n"
        "    with open(f'{sys.argv[1]}/{jax.process_index()}.json', 'w') as file:\n"
        "        json.dump(reported, file)\n"
        "    feed.close()\n"
    )
    launcher = (
        "import sys; from launch.cluster.local import LocalOptions, run_local\n"
        "command = [sys.executable, '-c', *sys.argv[1:]]\n"
        "sys.exit(run_local(command, LocalOptions(processes=2, devices_per_process=2)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", launcher, program, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    reported = [json.loads((tmp_path / f"{number}.json").read_text()) for number in (0, 1)]
    assert all(read == own for read, own, _ in reported), "a process reads the rows of others too"
    assert sorted(reported[0][1] + reported[1][1]) == list(range(24, 32))
    assert {total for _, _, total in reported} == {T * sum(range(24, 32))}


def test_data_that_ends_is_an_error_of_the_step_that_wants_it() -> None:
    with jax.set_mesh(mesh_of()):
        batches = Numbered(last=4).batches(0, 4, local_rows(4))
        feed = Feed(batches, start=0, batch_size=4, schedule=float)
        next(feed)
        with pytest.raises(ValueError, match=r"data must not end, because the run wants row 4"):
            next(feed)
        feed.close()


def test_an_error_of_the_pipeline_reaches_the_loop() -> None:
    def broken() -> Iterator[TokenRows]:
        raise ValueError("data.store=x must be whole")
        yield

    with jax.set_mesh(mesh_of()):
        feed = Feed(broken(), start=0, batch_size=4, schedule=float)
        with pytest.raises(ValueError, match="must be whole"):
            next(feed)
        feed.close()


def test_close_ends_a_feed_that_is_ahead() -> None:
    with jax.set_mesh(mesh_of()):
        feed = Feed(Numbered().batches(0, 2, np.arange(2)), start=0, batch_size=2, schedule=float)
        next(feed)
        feed.close()
    assert not feed._thread.is_alive()


def test_replicated_scalar_is_on_every_device() -> None:
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        value = replicated(0.25)
    assert value.sharding.is_fully_replicated and len(value.sharding.device_set) == 4
    assert float(value) == 0.25
