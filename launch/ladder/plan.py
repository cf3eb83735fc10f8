"""`meshloom ladder plan`: every cell of a study with its size, cost, memory and hours."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from data.errors import UserError
from launch.ladder.cells import Cell, cells_of, predecessor
from launch.ladder.digits import short
from launch.ladder.study import Study

if TYPE_CHECKING:
    from launch.ladder.measure import Step

HEAD = f"{'cell':<20}{'params':>8}{'w/o emb':>8}{'L':>3}{'FLOPs':>9}{'steps':>9}{'tokens':>8}"
MEASURED = f"{'memory':>7}{'hours':>8}"


def show(study: Study, *, measure: bool) -> None:
    """Print the table and the sums. ValueError, after the table, if cells do not fit the device."""
    cells = cells_of(study)
    head = HEAD + (MEASURED if measure else "")
    print(head + "\n" + "-" * len(head))
    steps = _measured(cells) if measure else [None] * len(cells)
    hours, large = 0.0, []
    for cell, step in zip(cells, steps, strict=True):
        told = ""
        if step:
            own = (1 - shared(cell, cells)) * cell.config.train.steps * step.seconds / 3600
            fits = step.bytes <= step.room
            hours += own if fits else 0.0
            told = f"{short(step.bytes):>7}" + (f"{own:>8.2g}" if fits else f"{'-':>8}")
            if not fits:
                large.append((cell, step))
        print(
            f"{_name(cell):<20}{short(cell.parameters):>8}"
            f"{short(cell.parameters_without_embeddings):>8}{cell.config.model.depth:>3}"
            f"{cell.flops:>9.3g}{cell.config.train.steps:>9,}{short(cell.tokens):>8}{told}",
            flush=True,
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


def shared(cell: Cell, cells: list[Cell]) -> float:
    """The share of a cell's steps that it takes over from a shorter one."""
    before = predecessor(cell, cells)
    return before.branching / cell.config.train.steps if before else 0.0


def _measured(cells: Sequence[Cell]) -> "Iterator[Step]":
    from launch.ladder.measure import measure

    terminal = sys.stderr.isatty()
    steps = measure(cells)
    for cell in cells:
        if terminal:
            print(f"compiling width {cell.width} ...", end="\r", file=sys.stderr, flush=True)
        step = next(steps)
        if terminal:
            print("\033[2K", end="\r", file=sys.stderr, flush=True)
        yield step


def _sums(cells: list[Cell], hours: float | None) -> None:
    total = sum(cell.flops for cell in cells)
    saved = sum(shared(cell, cells) * cell.flops for cell in cells)
    held_out = sum(cell.held_out for cell in cells)
    told = f", {held_out} of them held out (*)" if held_out else ""
    print(f"\n{len(cells)} cells{told}: {total:.3g} FLOPs")
    if saved:
        print(
            f"{saved:.3g} of these ({saved / total:.0%}) are saved, "
            "as lengths of one size share first steps"
        )
    if hours is not None:
        print(f"{hours:.2g} hours of steps on the devices of this machine, one cell at a time;")
        print("evaluation, saving and starting come on top")
        _text(cells)
    print("FLOPs are of forward and backward, with causal attention counted once")


def _text(cells: list[Cell]) -> None:
    """How much text the losses stand on: of few documents, seeds of one cell differ."""
    from data.rows.tokens import open_windows

    config = cells[0].config
    train, held_out = (open_windows(config.data, s) for s in ("train", "held_out"))
    rows = min(held_out.num_rows, config.train.eval_batches * config.train.batch_size)
    most = max(cell.tokens for cell in cells) / train.num_tokens
    print(
        f"losses are measured on {rows * config.data.sequence_length:,} tokens out of "
        f"{held_out.num_documents:,} documents;"
    )
    print(f"{train.num_tokens:,} tokens to train on are read {most:.2g} times at most")


def _name(cell: Cell) -> str:
    return f"w{cell.width} s{cell.seed} {cell.digest[:8]}" + ("*" if cell.held_out else "")
