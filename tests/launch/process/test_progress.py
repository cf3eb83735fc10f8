"""What a long command does is told on its stream, with the seconds it has taken."""

import io
import itertools
import threading

from launch.process.progress import Progress


class FakeTerminal(io.StringIO):
    """Wakes whoever waits for a number of writes."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal
        self._more = threading.Condition()
        self._writes = 0

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        with self._more:
            self._writes += 1
            self._more.notify_all()
            return super().write(text)

    def after(self, text: str) -> str:
        """What is there once it holds that text."""
        with self._more:
            assert self._more.wait_for(lambda: text in self.getvalue(), timeout=60)
        return self.getvalue()


def written(terminal: bool, what: str, until: str) -> str:
    stream, seconds = FakeTerminal(terminal=terminal), itertools.count(0, 7)
    with Progress(stream, every=0.001, clock=lambda: float(next(seconds))) as report:
        report(what)
        stream.after(until)
        report("the next")
    return stream.getvalue()


def test_a_pipe_gets_whole_lines_with_the_seconds_so_far() -> None:
    lines = written(False, "compiling", ": 14 s so far").splitlines()
    assert lines[:3] == ["compiling", "compiling: 7 s so far", "compiling: 14 s so far"]
    assert "the next" in lines
    assert not {"\r", "\x1b"} & set("".join(lines))


def test_a_terminal_gets_a_line_that_counts_and_stays_when_done() -> None:
    said = written(True, "compiling", "compiling 21 s")
    first, second, *_ = said.split("\n")
    shown = first.replace("\r", "").split("\x1b[K")
    assert shown[:3] == ["", "compiling 7 s", "compiling 14 s"]
    assert shown[-1].startswith("compiling ") and shown[-1].endswith(" s")
    assert "the next" in second
    assert said.endswith("\n")


def test_long_lines_are_cut_on_a_terminal_until_done_and_folded_elsewhere(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    what = "layout " + " ".join(f"--mesh.axis-{number} 16" for number in range(9))
    pipe = written(False, what, "so far")
    assert max(map(len, pipe.splitlines())) <= 80 and "--mesh.axis-8 16" in pipe
    said = written(True, what, "... 14 s")
    drawn = said.replace("\r", "\n").replace("\x1b[K", "").splitlines()
    assert max(map(len, drawn)) <= 80 and "--mesh.axis-8 16" in " ".join(drawn)


def test_a_reader_that_is_gone_does_not_matter() -> None:
    stream = FakeTerminal(terminal=False)
    stream.close()
    with Progress(stream, every=0.001) as report:
        report("compiling")
