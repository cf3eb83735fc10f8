"""`meshloom ladder plan`: every cell of a study with its size, cost, memory and hours."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data.errors import UserError
from launch.checkout import ROOT
from launch.ladder.cells import Cell, cells_of, predecessor
from launch.ladder.study import Study
from launch.process.progress import Progress
from train.report.numbers import short

if TYPE_CHECKING:
    from launch.ladder.measure import Step

GRADIENT = 4
"""Bytes of a parameter's gradient, in float32."""
SURE = 2**26
"""Parameters that any device can train."""
HEAD = f"{'cell':<20}{'params':>8}{'w/o emb':>8}{'L':>3}{'FLOPs':>9}{'steps':>9}{'tokens':>8}"
MEASURED = f"{'memory':>7}{'hours':>8}"


def show(study: Study, *, measure: bool) -> None:
    """Print the table and the sums. ValueError, after the table, if cells do not fit the device."""
    cells = cells_of(study)
    steps: Sequence[Step | None] = _measured(cells) if measure else [None] * len(cells)
    head = HEAD + (MEASURED if measure else "")
    print(head + "\n" + "-" * len(head))
    hours, large = 0.0, []
    for cell, step in zip(cells, steps, strict=True):
        measured = ""
        if step:
            own = (1 - shared(cell, cells)) * cell.config.train.steps * step.seconds / 3600
            fits = step.bytes <= step.room
            hours += own if fits else 0.0
            measured = f"{short(step.bytes):>7}" + (f"{own:>8.2g}" if fits else f"{'-':>8}")
            if not fits:
                large.append((cell, step))
        print(
            f"{_name(cell):<20}{short(cell.parameters):>8}"
            f"{short(cell.parameters_without_embeddings):>8}{cell.config.model.depth:>3}"
            f"{cell.flops:>9.3g}{cell.config.train.steps:>9,}{short(cell.tokens):>8}{measured}"
        )
    _sums(cells, hours if measure else None)
    if large:
        cell, step = large[-1]
        raise UserError(
            f"all cells must fit the device, because they are trained on it, but {len(large)} do "
            f"not: {_name(cell)} takes {short(step.bytes)} bytes of {short(step.room)}; try a "
            "smaller batch_tokens, base.train.accumulation, base.model.remat=full, or more devices "
            "by base.mesh"
        )


def require_room(cells: Sequence[Cell]) -> None:
    """Raise ValueError if the state of the largest cell alone is larger than all devices.

    The devices are asked by a process of its own, as who asks holds an accelerator's memory until
    it ends.
    """
    largest = max(cells, key=lambda cell: cell.parameters)
    if largest.parameters < SURE:
        return
    from train.optimizer.memory import state_bytes  # slow to import

    run = largest.config
    size = (GRADIENT + state_bytes(run.train.optimizer, run.model)) * largest.parameters
    printed = subprocess.run(
        [sys.executable, "-c", "from launch.ladder.measure import room; print(room())"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    if size > (room := int(printed.split()[-1])):
        raise UserError(
            f"width {largest.width} must fit the devices, because it is trained on them, but its "
            f"{largest.parameters:,} parameters with gradient and optimizer take {size:.3g} bytes, "
            f"and there are {room:.3g}; try leaving that width out, or more devices"
        )


def _measured(cells: Sequence[Cell]) -> "list[Step]":
    from launch.ladder.measure import measure

    with Progress() as report:
        return measure(cells, report)


def shared(cell: Cell, cells: list[Cell]) -> float:
    """The share of a cell's steps that it takes over from a shorter one."""
    before = predecessor(cell, cells)
    return before.branching / cell.config.train.steps if before else 0.0


def _sums(cells: list[Cell], hours: float | None) -> None:
    total = sum(cell.flops for cell in cells)
    saved = sum(shared(cell, cells) * cell.flops for cell in cells)
    held_out = sum(cell.held_out for cell in cells)
    starred = f", {held_out} of them held out (*)" if held_out else ""
    print(f"\n{len(cells)} cells{starred}: {total:.3g} FLOPs")
    if saved:
        print(
            f"{saved:.3g} of these ({saved / total:.0%}) are saved, "
            "as lengths of one size share first steps"
        )
    if hours is not None:
        print(f"{hours:.2g} hours of steps on the devices of this machine, one cell at a time;")
        print("evaluation, saving and starting come on top")
        print_amount(cells)
    causal = ", with causal attention counted once" * cells[0].config.model.attended.causal
    print(f"FLOPs are of forward and backward{causal}")


def print_amount(cells: list[Cell]) -> None:
    """How much text, or how many rows of examples, the losses stand on: of few documents, seeds of
    one cell differ."""
    from data.rows.windows import Windows

    config = cells[0].config
    opened: list[Any] = [config.data.open_rows(split) for split in ("train", "held_out")]
    train, held_out = opened
    rows = min(held_out.num_rows, config.train.eval_batches * config.train.batch_size)
    largest = max(cell.tokens for cell in cells)
    if not isinstance(train, Windows):
        most = largest / config.data.sequence_length / train.num_rows
        print(
            f"losses are measured on {rows:,} rows of examples;\n{train.num_rows:,} rows to train "
            f"on are read {most:.2g} times at most"
        )
        return
    most = largest / train.num_tokens
    print(
        f"losses are measured on {rows * config.data.sequence_length:,} tokens out of "
        f"{held_out.num_documents:,} documents;"
    )
    print(f"{train.num_tokens:,} tokens to train on are read {most:.2g} times at most")


def _name(cell: Cell) -> str:
    return f"w{cell.width} s{cell.seed} {cell.digest[:8]}" + ("*" if cell.held_out else "")
