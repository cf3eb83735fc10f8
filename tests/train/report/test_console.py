"""What people read while a run goes on."""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from train.report.console import ConsoleWriter, describe, describe_evaluation
from train.report.writers import Record

TRAINING: Record = {
    "step": 90,
    "loss": 3.14159,
    "tokens_per_second": 1234567.0,
    "flops_per_second": 4.8e15,
    "mfu": 0.4567,
    "step_seconds": 2.0,
    "data_wait": 0.053,
}
EVALUATION: Record = {
    "step": 90,
    "eval_loss": 3.2,
    "eval_perplexity": 24.53253,
    "eval_bits_per_byte": 1.23456,
}


def shown(terminal: bool, total: int = 1_000_000) -> str:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=80, highlight=False)
    writer = ConsoleWriter(total, console)
    writer.write(TRAINING)
    writer.write(EVALUATION)
    writer.say("[saved] a checkpoint")
    writer.close()
    return output.getvalue()


def test_plain_lines_fit_80_columns_and_carry_no_control_characters() -> None:
    text = shown(terminal=False)
    assert text.splitlines() == [
        "     90/1000000  loss 3.1416  1.23M tok/s  MFU 45.7%  data wait 5%  left 23d 03h",
        "     90/1000000  held-out loss 3.2000  perplexity 24.533  bits/byte 1.235",
        "[saved] a checkpoint",
    ]
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_a_terminal_gets_a_bar_and_evaluations_above_it() -> None:
    text = shown(terminal=True)
    assert "90/1000000" in text and "MFU 45.7%" in text and "\x1b[2K" in text
    assert "held-out loss 3.2000  perplexity 24.533  bits/byte 1.235\n" in text
    assert "[saved] a checkpoint\n" in text
    assert text.count("\n") == 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "1.23M tok/s  MFU 45.7%  data wait 5%  left 0:20"),
        ({"step_seconds": 400.0, "data_wait": 0.004}, "1.23M tok/s  MFU 45.7%  left 1:06:40"),
        ({"mfu": None}, "1.23M tok/s  4.8 PFLOP/s  data wait 5%  left 0:20"),
        ({"mfu": None, "flops_per_second": 9.5e10}, "95 GFLOP/s  data wait 5%  left 0:20"),
        ({"mfu": None, "flops_per_second": 1.12e7}, "11.2 MFLOP/s  data wait 5%  left 0:20"),
        ({"mfu": None, "flops_per_second": 9.0}, "9 FLOP/s  data wait 5%  left 0:20"),
        ({"tokens_per_second": 2.5e9}, "2.5G tok/s  MFU 45.7%  data wait 5%  left 0:20"),
        ({"tokens_per_second": 912.0}, "912 tok/s  MFU 45.7%  data wait 5%  left 0:20"),
    ],
)
def test_a_line_says_loss_speed_and_time_left(changes: dict, text: str) -> None:
    record = {k: v for k, v in {**TRAINING, **changes}.items() if v is not None}
    line = describe(record, steps_left=10)
    assert line.startswith("loss 3.1416  ")
    assert line.endswith(text)
    assert describe(record, 10, "rows") == line.replace("tok/s", "rows/s")


def test_evaluation_says_what_was_measured() -> None:
    assert describe_evaluation({"step": 1, "eval_loss": 2.0}) == "held-out loss 2.0000"


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("later", [False, True])
def test_a_console_that_cannot_be_written_goes_silent(
    terminal: bool, later: bool, tmp_path: Path
) -> None:
    full = Path("/dev/full")
    with full.open("w") as broken, (tmp_path / "out" if later else full).open("w") as output:
        console = Console(file=output, force_terminal=terminal, width=80)
        writer = ConsoleWriter(100, console)
        if later:
            os.dup2(broken.fileno(), output.fileno())
        for _ in range(2):
            writer.write(TRAINING)
            writer.write(EVALUATION)
        writer.close()
        assert console.quiet
