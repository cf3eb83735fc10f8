"""Hand-written timelines whose parts are known, and a real run that is killed and goes on."""

import json
import shutil
from pathlib import Path

import pytest

from launch.commands.goodput import table
from launch.run.goodput import attempts, parts, totals
from launch.run.timeline import Span
from tests.command import meshloom, records


def spans(
    *listed: tuple[str, float] | tuple[str, float, int, int] | tuple[str, float, int, int, float],
    attempt: int = 1,
    at: float = 0.0,
) -> list[Span]:
    """Spans end to end from (phase, seconds[, first step, last step[, data wait]])."""
    result = []
    for item in listed:
        first, last = (item[2], item[3]) if len(item) > 3 else (None, None)
        waited = item[4] if len(item) == 5 else 0.0
        result.append(Span(attempt, item[0], at, at + item[1], first, last, waited))
        at += item[1]
    return result


def some(seconds: dict[str, float]) -> dict[str, float]:
    return {kind: spent for kind, spent in seconds.items() if spent}


def test_a_run_that_nobody_disturbed() -> None:
    timeline = spans(
        ("start", 2), ("compile", 3), ("step", 10, 1, 10, 1.0), ("save", 1), ("finish", 4)
    )
    assert some(totals(timeline)) == {
        "start": 2, "compile": 3, "steps": 9, "data_wait": 1, "save": 1, "finish": 4,
    }  # fmt: skip
    assert attempts(timeline)[0][3:] == (1, 10, "no last word, in finish", [])


def test_steps_after_the_last_save_are_lost_and_the_gap_is_down() -> None:
    first = spans(("start", 1), ("step", 10, 1, 10), ("save", 1), ("step", 6, 11, 16, 2.0))
    second = spans(("start", 1), ("restore", 1), ("step", 5, 11, 15), attempt=2, at=25.0)
    assert some(totals(first + second)) == {
        "start": 2, "steps": 15, "save": 1, "lost": 6, "down": 7, "restore": 1,
    }  # fmt: skip


def test_a_span_is_cut_where_a_later_attempt_begins() -> None:
    first = spans(("step", 10, 1, 10, 2.0))
    second = spans(("step", 4, 5, 8), attempt=2, at=10.0)
    result = some(totals(first + second))
    assert result == pytest.approx({"steps": 3.2 + 4, "data_wait": 0.8, "lost": 6})


def test_a_step_that_was_never_finished_is_lost_only_before_another_start() -> None:
    first = spans(("step", 3, 1, 0))
    second = spans(("step", 3, 1, 0), ("save", 1), ("step", 4, 1, 4), attempt=2, at=3.0)
    assert some(totals(first + second)) == {"lost": 3, "steps": 7, "save": 1}
    assert some(totals(first)) == {"steps": 3}


def test_an_attempt_that_ended_in_order_lost_nothing() -> None:
    first = spans(("step", 3, 1, 3), ("save", 1), ("step", 0.1, 4, 3), ("finish", 1))
    second = spans(("restore", 1), ("step", 2, 4, 5), attempt=2, at=5.1)
    assert "lost" not in some(totals(first + second))


def test_a_rollback_within_an_attempt_loses_what_it_repeats() -> None:
    timeline = spans(("step", 8, 1, 8), ("restore", 1), ("step", 5, 5, 9))
    assert some(totals(timeline)) == {"steps": 4 + 5, "lost": 4, "restore": 1}
    assert attempts(timeline)[0].rollbacks == [4]
    assert table(totals(timeline), attempts(timeline))[-1].strip() == "rollback to step 4"
    timeline += spans(("restore", 1), ("step", 2, 5, 6), at=14.0)
    assert table(totals(timeline), attempts(timeline))[-1].endswith("to step 4, 2 rollbacks in all")


def test_clocks_that_disagree_leave_no_overlap() -> None:
    first = spans(("step", 10, 1, 10))
    second = spans(("start", 1), ("compile", 2), ("step", 4, 11, 14), attempt=2, at=8.0)
    result = list(parts(first + second))
    assert [part.end for part in result[:-1]] == [part.begin for part in result[1:]]
    assert sum(totals(first + second).values()) == 15.0


@pytest.mark.parametrize(
    ("ended", "first", "below"),
    [
        ("a peer ended: JaxRuntimeError: " + "word " * 80 + "end", "a peer ended", "JaxRuntime"),
        ("stopped by SIGTERM before a step", "stopped by SIGTERM before a s…", "stopped by"),
    ],
)
def test_a_long_end_is_printed_in_full_below_its_line(ended: str, first: str, below: str) -> None:
    last = Span(1, "step", 0.0, 3.0, 1, 3, 0.0, ended)
    lines = table(totals([last]), attempts([last]))
    place = next(n for n, line in enumerate(lines) if line.endswith(f" {first}"))
    rest = " ".join(line.strip() for line in lines[place + 1 :])
    assert rest.startswith(below) and ended.endswith(rest) and max(map(len, lines)) <= 80


def test_the_table_fits_a_terminal() -> None:
    timeline = spans(("start", 3e5), ("step", 3e6, 1, 1_000_000, 2e5), ("evaluate", 40))
    ended = [timeline[-1]._replace(ended="ValueError: " + "x" * 100)]
    lines = table(totals(timeline), attempts(timeline[:-1] + ended))
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("goodput 84.8% of ")


def test_a_killed_run_that_went_on_sums_to_its_wall_time(killed: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(killed, tmp_path / "run"))
    meshloom("train", "--run-dir", str(run), "--resume")
    printed = json.loads(meshloom("goodput", str(run), "--json").stdout)
    first, second = printed["attempts"]
    assert first["ended"].startswith("no last word, in ") and second["ended"] == "done"
    assert second["first_step"] in (11, 21) and second["last_step"] == 40
    wall = second["end"] - first["begin"]
    assert sum(printed["seconds"].values()) == pytest.approx(wall, rel=0.01)
    gap = second["begin"] - first["end"]
    assert printed["seconds"]["down"] == pytest.approx(gap, abs=0.01)
    for kind in ("steps", "down", "start", "compile", "restore", "evaluate", "save"):
        assert printed["seconds"][kind] > 0, kind
    # A kill may leave no record of the steps after the checkpoint: they were as quick as that.
    repeated = first["last_step"] >= second["first_step"]
    assert (printed["seconds"]["lost"] > 0) == repeated
    assert printed["goodput"] == printed["seconds"]["steps"] / sum(printed["seconds"].values())
    assert all(0 < record["goodput"] < 1 for record in records(run))

    out = meshloom("goodput", str(run)).stdout
    assert out.startswith("goodput ") and "no last word" in out
    assert (run / "goodput.png").read_bytes()[:4] == b"\x89PNG"
    error = meshloom("goodput", str(tmp_path), expect=1).stderr
    assert "must be a run directory" in error
