"""Claims: one worker a cell, until it is done with it, dead, or silent for too long."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from launch.ladder import claims
from launch.ladder.claims import Worker, holder


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    """The directory of a cell of the study in `tmp_path`."""
    (tmp_path / "workers").mkdir()
    cell = tmp_path / "cells" / "one"
    cell.mkdir(parents=True)
    return cell


def silent(worker: Worker, study: Path, seconds: float) -> None:
    """Make it seem that a worker has not beaten for so long."""
    worker.close()
    beat = study / "workers" / f"{worker.name}.json"
    at = beat.stat().st_mtime - seconds
    os.utime(beat, (at, at))


def test_a_cell_is_claimed_until_it_is_released(cell: Path, tmp_path: Path) -> None:
    first, second = Worker(tmp_path), Worker(tmp_path)
    claim = first.claim(cell)
    assert claim is not None and claim.is_valid and claim.number == 1
    assert holder(cell, tmp_path, second.now) == first.name
    assert second.claim(cell) is None and first.claim(cell) is None
    claim.release()
    assert holder(cell, tmp_path, second.now) is None
    taken = second.claim(cell)
    assert taken is not None and taken.number == 2 and not claim.is_valid


def test_a_single_worker_of_many_gets_a_cell(
    cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [Worker(tmp_path) for _ in range(8)]
    together, got = threading.Barrier(len(workers)), []

    def look(*place: Any) -> str | None:
        """Nobody takes the cell before all have seen that it is free."""
        name = holder(*place)
        together.wait()
        return name

    def want(worker: Worker) -> None:
        if claim := worker.claim(cell):
            got.append(claim)

    monkeypatch.setattr(claims, "holder", look)
    for number in range(1, 4):
        threads = [threading.Thread(target=want, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (claim,) = got
        assert claim.number == number
        claim.release()
        got.clear()


def test_a_silent_worker_loses_its_cell_and_knows_it(cell: Path, tmp_path: Path) -> None:
    first, second = Worker(tmp_path), Worker(tmp_path)
    claim = first.claim(cell)
    assert claim is not None
    silent(first, tmp_path, claims.SILENT - 5)
    assert second.claim(cell) is None
    silent(first, tmp_path, 10)
    taken = second.claim(cell)
    assert taken is not None and taken.is_valid and not claim.is_valid
    claim.release()
    assert holder(cell, tmp_path, second.now) == second.name


def test_a_worker_beats(cell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beaten = threading.Event()
    utime = os.utime

    def seen(*arguments: object) -> None:
        utime(*arguments)  # type: ignore[arg-type]
        beaten.set()

    monkeypatch.setattr(claims, "EVERY", 0.01)
    monkeypatch.setattr(os, "utime", seen)
    Worker(tmp_path)
    assert beaten.wait(60)


def test_a_worker_of_this_machine_that_is_gone_is_no_holder(cell: Path, tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from launch.ladder.claims import Worker; "
    code += "Worker(Path(sys.argv[1])).claim(Path(sys.argv[2]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path), str(cell)], check=True)
    worker = Worker(tmp_path)
    assert holder(cell, tmp_path, worker.now) is None
    (beat,) = [p for p in (tmp_path / "workers").iterdir() if worker.name not in p.name]
    about = json.loads(beat.read_text())
    for change in ({"host": "elsewhere"}, {"boot": "another"}):
        beat.write_text(json.dumps(about | change))
        # There nobody can look; its beat is new.
        assert holder(cell, tmp_path, worker.now) == beat.stem
        assert worker.claim(cell) is None
        assert holder(cell, tmp_path, worker.now + claims.SILENT + 1) is None


@pytest.mark.parametrize("written", ["", '{"worker": "vm'])
def test_a_claim_cut_short_holds_until_its_writer_is_silent(
    written: str, cell: Path, tmp_path: Path
) -> None:
    worker = Worker(tmp_path)
    (cell / "claims").mkdir()
    path = cell / "claims" / "1.json"
    path.write_text(written)
    assert worker.claim(cell) is None
    at = path.stat().st_mtime - claims.SILENT - 1
    os.utime(path, (at, at))
    taken = worker.claim(cell)
    assert taken is not None and taken.number == 2


def test_the_clock_is_that_of_the_file_system_where_it_can_be_asked(tmp_path: Path) -> None:
    file = tmp_path / "before"
    file.touch()
    assert claims.clock(tmp_path) >= file.stat().st_mtime
    assert [*tmp_path.iterdir()] == [file]
    began = time.time()
    assert began <= claims.clock(tmp_path / "none") <= time.time()
