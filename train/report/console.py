"""Records for people: a progress bar on a terminal, plain lines of at most 80 columns elsewhere."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from train.report.numbers import clock, rate
from train.report.writers import Record

if TYPE_CHECKING:
    from rich.console import Console


class ConsoleWriter:
    """Shows training records in one place and evaluation records as lines of their own."""

    def __init__(
        self, total_steps: int, console: "Console | None" = None, unit: str = "tok"
    ) -> None:
        """unit: what speed counts."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = console or Console(highlight=False)
        self._total, self._unit = total_steps, unit
        self._progress: Progress | None = None
        if self._console.is_terminal:
            progress = Progress(
                TextColumn("{task.completed}/{task.total}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[text]}"),
                console=self._console,
                auto_refresh=False,
            )
            self._task = progress.add_task("", total=total_steps, text="compiling")
            with silent_if_broken(self._console):
                progress.start()
                self._progress = progress

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        with silent_if_broken(self._console):
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    def write(self, record: Record) -> None:
        step = int(record["step"])
        if "eval_loss" in record:
            self.say(f"{self._place(step)}  {describe_evaluation(record)}")
        if "loss" not in record:
            return
        text = describe(record, self._total - step, self._unit)
        if self._progress is None:
            self.say(f"{self._place(step)}  {text}")
        else:
            with silent_if_broken(self._console):
                self._progress.update(self._task, completed=step, text=text, refresh=True)

    def close(self) -> None:
        if self._progress is not None:
            with silent_if_broken(self._console):
                self._progress.stop()
            self._progress = None

    def _place(self, step: int) -> str:
        return f"{step:>{len(str(self._total))}}/{self._total}"


@contextlib.contextmanager
def silent_if_broken(console: "Console") -> Iterator[None]:
    """Silence the console for good if it cannot be written: its reader may be gone, or its disk
    full, and that stops no run."""
    try:
        yield
    except (OSError, ValueError, SystemExit):  # SystemExit is how rich answers a closed pipe
        console.quiet = True
        # What Python still holds for it would fail when the process ends.
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), console.file.fileno())


def describe(record: Record, steps_left: int, unit: str = "tok") -> str:
    """`loss 3.4567  12.3k tok/s  MFU 41.2%  left 3:20`, from a training record."""
    parts = [f"loss {float(record['loss']):.4f}"]
    if "tokens_per_second" in record:
        parts.append(f"{''.join(rate(float(record['tokens_per_second'])))} {unit}/s")
    if "mfu" in record:
        parts.append(f"MFU {float(record['mfu']):.1%}")
    elif "flops_per_second" in record:
        parts.append(f"{' '.join(rate(float(record['flops_per_second'])))}FLOP/s")
    if float(record.get("data_wait", 0.0)) >= 0.01:
        parts.append(f"data wait {float(record['data_wait']):.0%}")
    if "step_seconds" in record:
        parts.append(f"left {clock(float(record['step_seconds']) * steps_left)}")
    return "  ".join(parts)


def describe_evaluation(record: Record) -> str:
    """`held-out loss 3.4567  perplexity 31.71  bits/byte 1.234`, from an evaluation record; other
    measures follow by their names."""
    shown = {
        "eval_loss": ("held-out loss", ".4f"),
        "eval_perplexity": ("perplexity", ".5g"),
        "eval_bits_per_byte": ("bits/byte", ".3f"),
    }
    others = {
        name: (name.removeprefix("eval_").replace("_", " "), ".4f")
        for name in record
        if name.startswith("eval_") and name not in (*shown, "eval_targets")
    }
    return "  ".join(
        f"{words} {float(record[name]):{form}}"
        for name, (words, form) in (shown | others).items()
        if name in record
    )
