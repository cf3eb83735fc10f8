from collections import deque
from pathlib import Path

import pytest

from launch.run.timeline import Timeline, read
from train.report.phases import Ended, Phases


def test_phases_lie_end_to_end_and_the_last_says_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "timeline.jsonl"
    phases = Phases()
    with Timeline(phases) as timeline:
        timeline.open(path)
        phases.enter("compile")
        phases.begin_steps(0)
        phases.finished(1, 0.25)
        timeline._write()
        assert [s.phase for s in read(path)] == ["start", "compile", "step"]
        phases.finished(2, 0.25)
        with phases.during("save"):
            timeline._write()
        phases.finished(3, 0.0)
    spans = read(path)
    assert [s.phase for s in spans] == ["start", "compile", "step", "save", "step"]
    assert [s.end for s in spans[:-1]] == [s.begin for s in spans[1:]]
    assert (spans[2].first_step, spans[2].last_step, spans[2].data_wait) == (1, 2, 0.5)
    assert (spans[4].first_step, spans[4].last_step) == (3, 3)
    assert [s.ended for s in spans] == [None] * 4 + ["done"]
    assert {s.attempt for s in spans} == {1}


def test_the_next_start_goes_on_after_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "timeline.jsonl"
    with Timeline(Phases()) as timeline:
        timeline.open(path)
    with path.open("a") as file:
        file.write('{"attempt": 2, "pha')
    with pytest.raises(ValueError, match="full"), Timeline(Phases()) as timeline:
        timeline.open(path)
        raise ValueError("the disk is full")
    assert [(s.attempt, s.ended) for s in read(path)] == [
        (1, "done"),
        (2, "ValueError: the disk is full"),
    ]


def test_a_phase_that_begins_while_the_timeline_is_written_comes_after_the_phase_it_ends(
    tmp_path: Path,
) -> None:
    class Emptied(deque[Ended]):
        def __bool__(self) -> bool:
            if empty := len(self) == 0:
                phases.enter("compile")
            return not empty

    path = tmp_path / "timeline.jsonl"
    phases = Phases()
    phases.ended = Emptied()
    timeline = Timeline(phases)
    timeline.open(path)
    timeline._write()
    with timeline:
        pass
    assert [s.phase for s in read(path)] == ["start", "compile"]
