"""Reads runs from a table another trainer wrote: CSV, or JSON lines."""

import csv
import difflib
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TextIO

from data import system
from data.errors import UserError
from launch.ladder.runs import ScalingRun

FIELDS = ("params", "tokens", "flops", "loss", "unique")
SHOWN = 8
"""Columns that are named at most."""
Rows = Mapping[int, Mapping[str, object]]
"""By the lines they stand in."""


def columns_of(text: str) -> dict[str, str]:
    """Our name to the file's, from `params=...,tokens=...,loss=...`; `unique=...` are the tokens of
    the text, each counted once. Theirs may hold blanks."""
    parts = [part.partition("=") for part in text.split(",")]
    named = [(name.strip(), theirs.strip()) for name, _, theirs in parts]
    columns = dict(named)
    if wrong := [name for name, theirs in named if name not in FIELDS or not theirs]:
        what = f"{wrong[0]!r} is none of these"
    elif len(set(columns.values())) < len(named):
        what = "one is named twice"
    elif not {"params", "loss"} <= set(columns):
        what = f"{' and '.join(sorted({'params', 'loss'} - set(columns)))} missing"
    elif not {"tokens", "flops"} & set(columns):
        what = "both tokens and flops are missing"
    else:
        return columns
    raise UserError(
        f"columns={text!r} must name params, loss, and tokens or flops or both, because a surface "
        f"is fitted over them, but {what}; try params=N,tokens=D,loss=final_loss"
    )


def read_runs(path: Path, columns: Mapping[str, str], exclude: frozenset[int]) -> list[ScalingRun]:
    """The file's runs but for the lines to exclude, each named by its line; tokens or FLOPs that it
    does not hold follow from 6 N D (Kaplan et al. 2020)."""
    try:
        system.require_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = dict(_objects(file) if path.suffix == ".jsonl" else _records(file))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(
            f"csv={path} must be a readable CSV with a header, or JSON lines named .jsonl, because "
            f"runs are read from it, but {system.said(error)}; try another file"
        ) from error
    if unknown := sorted(exclude - set(rows)):
        lines = " ".join(map(str, sorted(exclude & set(rows))))
        raise UserError(
            f"exclude={unknown[0]} must be a line of {path} that holds a run, because it is left "
            f"out, but runs stand in lines {min(rows, default=0)} to {max(rows, default=0)}; "
            f"try {f'--exclude {lines}' if lines else 'without --exclude'}"
        )
    runs = [_run(path, line, rows, columns) for line in sorted(set(rows) - exclude)]
    if not runs:
        raise UserError(
            f"csv={path} must hold runs, because these are fitted, but "
            + ("all are excluded" if rows else "there is none")
            + "; try another file, or fewer lines after --exclude"
        )
    return runs


def _objects(file: TextIO) -> Iterator[tuple[int, Mapping[str, object]]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise UserError(f"line {number} holds no object: {line.strip()[:40]}")
            yield number, row


def _records(file: TextIO) -> Iterator[tuple[int, Mapping[str, object]]]:
    reader = csv.DictReader(file, strict=True)
    names = reader.fieldnames or []
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"column {twice[0]!r} stands in its header twice")
    for row in reader:
        yield reader.line_num, row


def _run(path: Path, line: int, rows: Rows, columns: Mapping[str, str]) -> ScalingRun:
    """ValueError if a line lacks a column, or a number in it."""
    row = rows[line]
    if missing := [name for name, theirs in columns.items() if theirs not in row]:
        names = [name for name in row if isinstance(name, str)]  # not cells beyond the header
        remedy = f"mending that line, or --exclude {line}"
        if not all(any(columns[name] in other for other in rows.values()) for name in missing):
            remedy = f"--columns {_near(names, missing, columns)}"
        listed = ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")
        raise UserError(
            f"columns={columns[missing[0]]!r} must be a column of {path}, because {missing[0]} is "
            f"read from it, but line {line} has only {listed}; try {remedy}"
        )
    values: dict[str, float] = {}
    for name, column in columns.items():
        try:
            values[name] = float(str(row[column]).strip())
        except ValueError as error:
            raise UserError(
                f"{column}={row[column]!r} in line {line} of {path} must be a number, because it "
                "is fitted; try mending or leaving out that line"
            ) from error
    if "flops" not in values:
        values["flops"] = 6 * values["params"] * values["tokens"]
    if "tokens" not in values:
        values["tokens"] = values["flops"] / (6 * values["params"] or float("nan"))
    return ScalingRun(f"line {line}", **values)


def _near(names: list[str], missing: list[str], columns: Mapping[str, str]) -> str:
    """The flag's whole value, with the names of the file nearest to what is missing."""
    mapped = {name: theirs for name, theirs in columns.items() if name not in missing}
    free = {c.lower(): c for c in names if c and c.strip() == c and "," not in c}
    for name in missing:
        wanted = {columns[name]: name, name: name}
        if name == "tokens" and "flops" not in columns:
            wanted["flops"] = "flops"  # one of both is enough
        for want, ours in wanted.items():
            left = [low for low, theirs in free.items() if theirs not in mapped.values()]
            if near := difflib.get_close_matches(want.lower(), left, n=1, cutoff=0.5):
                mapped[ours] = free[near[0]]
                break
        else:
            mapped[name] = "COLUMN"
    flag = shlex.quote(",".join(f"{name}={mapped[name]}" for name in FIELDS if name in mapped))
    return f"{flag} with a name for each COLUMN" if "COLUMN" in mapped.values() else flag
