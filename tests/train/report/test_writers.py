"""Records reach their files whole, survive a resume, and never stop a run."""

import importlib
import json
import math
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto import event_pb2

from train.report.writers import (
    JsonlWriter,
    Record,
    TensorBoardWriter,
    Unfailing,
    WandbWriter,
    read_jsonl,
    require_wandb,
)

EVENT: Any = vars(event_pb2)["Event"]  # made at import, unknown to type checkers


def write(path: Path, records: list[Record], resume_step: int | None = None) -> None:
    writer = JsonlWriter(path, resume_step)
    for record in records:
        writer.write(record)
    writer.close()


def steps(first: int, last: int) -> list[Record]:
    return [{"step": step, "loss": 1 / (step + 2)} for step in range(first, last + 1)]


def test_records_kept_on_resume_are_flushed_before_they_take_the_place_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: dict[int, int] = {}
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        flushed[os.fstat(descriptor).st_ino] = os.fstat(descriptor).st_size

    path = tmp_path / "metrics.jsonl"
    write(path, steps(1, 3))
    monkeypatch.setattr(os, "fsync", recorded)
    write(path, [], resume_step=2)
    assert read_jsonl(path) == steps(1, 2)
    assert flushed[path.stat().st_ino] == path.stat().st_size
    assert tmp_path.stat().st_ino in flushed


def test_floats_come_back_as_the_same_floats(tmp_path: Path) -> None:
    values = [0.1, 1 / 3, 2.5e-310, 1e300, -0.0, float(np.float32(0.1)), np.float32(2.7), 3]
    path = tmp_path / "metrics.jsonl"
    write(path, [{"step": i, "loss": value} for i, value in enumerate(values)])
    read = [record["loss"] for record in read_jsonl(path)]
    assert [math.copysign(1, v) for v in read] == [math.copysign(1, v) for v in values]
    assert read == values


def test_what_is_not_finite_is_still_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [{"step": 1, "loss": math.nan, "grad_norm": -math.inf}])
    (record,) = read_jsonl(path)
    assert record == {"step": 1, "loss": "nan", "grad_norm": "-inf"}
    assert math.isnan(float(record["loss"])) and float(record["grad_norm"]) == -math.inf


def test_each_record_is_in_the_file_when_write_returns(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    writer = JsonlWriter(path)
    for count, record in enumerate(steps(1, 3), start=1):
        writer.write(record)
        assert read_jsonl(path) == steps(1, count)
    writer.close()


def test_resume_keeps_earlier_records_and_repeats_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    evaluation: Record = {"step": 4, "eval_loss": 0.5}
    write(path, [*steps(1, 4), evaluation, *steps(5, 9)])
    write(path, steps(5, 7), resume_step=4)
    assert read_jsonl(path) == [*steps(1, 4), evaluation, *steps(5, 7)]
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_file_cut_anywhere_keeps_every_whole_record(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, steps(1, 3))
    whole = path.read_bytes()
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        kept = steps(1, whole[:length].count(b"\n"))
        assert read_jsonl(path) == kept
        write(path, steps(9, 9), resume_step=8)
        assert read_jsonl(path) == kept + steps(9, 9)


def test_another_runs_records_are_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, steps(1, 3))
    with pytest.raises(ValueError, match="must not exist, because a new run would mix"):
        JsonlWriter(path)
    assert read_jsonl(path) == steps(1, 3)


def test_a_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n\0\0\0\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics.jsonl line 2 must be a JSON object"):
        JsonlWriter(path, resume_step=3)
    assert path.read_text().endswith('{"step": 3}\n')


def events(directory: Path) -> list[Any]:
    """TensorBoard's files are records of length, checksum, event, checksum."""
    actual = []
    for path in sorted(directory.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            actual.append(EVENT.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return actual


def test_tensorboard_gets_every_number_by_step(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.write({"step": 10, "loss": 2.5, "learning_rate": 1e-3, "time": 1000.0, "note": "x"})
    writer.write({"step": 20, "eval_loss": 2.25, "time": 1001.0})
    writer.close()
    scalars = [
        (value.tag, event.step, value.simple_value, event.wall_time)
        for event in events(tmp_path)
        for value in event.summary.value
    ]
    rate = float(np.float32(1e-3))
    assert scalars == [
        ("train/loss", 10, 2.5, 1000.0),
        ("train/learning_rate", 10, rate, 1000.0),
        ("eval/loss", 20, 2.25, 1001.0),
    ]


def test_tensorboard_hides_what_a_resumed_run_writes_again(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path, resume_step=10)
    writer.write({"step": 11, "loss": 2.5})
    writer.close()
    starts = [e.step for e in events(tmp_path) if e.session_log.status == e.session_log.START]
    assert starts == [11]


def test_event_files_of_the_same_second_do_not_replace_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.5)
    for start in (1, 4, 6):
        writer = TensorBoardWriter(tmp_path, None if start == 1 else start - 1)
        writer.write({"step": start, "loss": 2.5})
        writer.close()
    actual = events(tmp_path)
    assert [event.step for event in actual if event.summary.value] == [1, 4, 6]
    starts = [event.step for event in actual if event.session_log.status]
    assert starts == [4, 6], "TensorBoard hides later steps of the files before, in this order"


class Wandb:
    """Stands in for the package: records of a step are kept together, and sent when the next one
    begins or the run is finished; what a killed process had not sent is lost."""

    def __init__(self) -> None:
        self.sent: dict[str, list[tuple[int, set[str]]]] = {}

    def init(self, *, id: str, resume: str, **_: object) -> "Wandb":
        assert resume == "allow"
        self._rows = self.sent.setdefault(id, [])
        self._open: tuple[int, set[str]] | None = None
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if self._open is not None and self._open[0] < step:
            self._rows.append(self._open)
            self._open = None
        assert self._open is None or self._open[0] == step
        names = self._open[1] if self._open is not None else set()
        self._open = (step, names | values.keys())

    def finish(self) -> None:
        if self._open is not None:
            self._rows.append(self._open)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.booleans()), max_size=6))
def test_wandb_has_a_single_run_for_a_life_and_each_step_once(
    tmp_path_factory: pytest.TempPathFactory, starts: list[tuple[int, int, bool]]
) -> None:
    """Each start goes back some steps, makes some more, and is killed or comes to its end."""
    package, run = Wandb(), tmp_path_factory.mktemp("run")
    sent = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "wandb", package)
        for back, more, killed in [(0, 3, False), *starts]:
            writer = WandbWriter("mine", run, {}, "asked-for")
            assert writer.last_step == sent
            begin = max(0, sent - back)
            for step in range(begin + 1, begin + more + 1):
                writer.write({"step": step, "loss": 1.0})
                if step % 2 == 0:
                    writer.write({"step": step, "eval_loss": 1.0})
            if not killed:
                writer.close()
            (rows,) = package.sent.values()
            sent = max(sent, begin + more - killed)
            assert [step for step, _ in rows] == list(range(1, sent + 1))
            assert all(("eval_loss" in names) == (step % 2 == 0) for step, names in rows)
        assert list(package.sent) == ["asked-for"]
        WandbWriter("another", run, {}).close()
        WandbWriter("mine", tmp_path_factory.mktemp("new"), {}).close()
    assert len(package.sent) == 3


def test_wandb_asked_for_and_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = pytest.raises(ValueError, match=r"wandb=mine must have .* install -e '\.\[wandb\]'")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with refused:
        require_wandb("mine")
    monkeypatch.delitem(sys.modules, "wandb")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    (tmp_path / "wandb").mkdir()
    with refused:
        require_wandb("mine")
    (tmp_path / "wandb" / "__init__.py").touch()
    importlib.invalidate_caches()
    require_wandb("mine")


@pytest.mark.parametrize(
    "text", ["{bad", "", "[]", "7", '{"mine": 3}', '{"mine": {"id": "a"}}', '{"mine": {"step": 1}}']
)
def test_a_damaged_record_of_what_was_sent_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", package := Wandb())
    file = tmp_path / "wandb.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=r"wandb\.json=.*/wandb\.json must .*; try moving it away"):
        WandbWriter("mine", tmp_path, {})
    assert file.read_text() == text and not package.sent
    file.rename(tmp_path / "away")
    WandbWriter("mine", tmp_path, {}, "old").close()
    assert list(package.sent) == ["old"]


def test_a_writer_that_fails_is_reported_once_and_dropped(tmp_path: Path) -> None:
    said: list[str] = []
    inner = JsonlWriter(tmp_path / "metrics.jsonl")
    writer = Unfailing(inner, said.append)
    writer.write({"step": 1})
    inner.close()
    for step in (2, 3):
        writer.write({"step": step})
    writer.close()
    (line,) = said
    assert line.startswith("JsonlWriter failed and is dropped; the run continues. ValueError: ")
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1}


def test_records_of_no_regular_file_are_refused(tmp_path: Path) -> None:
    """Reading a pipe would wait without an end."""
    os.mkfifo(tmp_path / "metrics.jsonl")
    for read in (read_jsonl, lambda path: JsonlWriter(path, 3)):
        with pytest.raises(ValueError, match=r"metrics\.jsonl must be a regular file"):
            read(tmp_path / "metrics.jsonl")
