"""Columns of words and tags as in CoNLL's shared tasks, plain or compressed: a record is a
sentence.

A line is a word; its columns are parted by tabs, or by blanks where there is no tab. An empty line
ends a sentence, and lines that begin with -DOCSTART- stand between documents.
"""

import sys
from collections.abc import Iterator, Sequence

from data.sources.lines import lines
from data.sources.paths import Paths
from data.sources.source import Piece, Record, Unreadable
from data.sources.utf8 import BOM, decoded

COLUMNS = {"words": 0, "tags": -1}
"""Fields by their usual names; any other is the number of a column, from 0."""


class Conll(Paths):
    """`conll:GLOB`; fields are `words` (the first column), `tags` (the last), or a number."""

    has_fields = True

    def divide_file(self, file: str, size: int) -> list[Piece]:
        """The file, whole: sentences may have any number of lines."""
        return [Piece(file=file, start=0, stop=size, size=size)]

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        """Sentences in order; a record's place is the number of its first line, from 1."""
        columns = {field: _column(field) for field in fields}
        sentence: list[list[str]] = []
        first = 1
        for number, (line, place) in enumerate(lines(piece.file, 0, sys.maxsize), start=1):
            mark = len(BOM) if place == 0 and line.startswith(BOM) else 0
            cells = _cells(decoded(line[mark:], place + mark))
            if cells and not cells[0].startswith("-DOCSTART-"):
                if not sentence:
                    first = number
                elif len(cells) != len(sentence[0]):
                    raise Unreadable(
                        f"line {number} must have {len(sentence[0])} columns, as line {first}, but "
                        f"has {len(cells)}"
                    )
                sentence.append(cells)
            elif sentence:
                yield _record(sentence, columns, piece.file, first)
                sentence = []
        if sentence:
            yield _record(sentence, columns, piece.file, first)


def _cells(line: str) -> list[str]:
    line = line.strip(" \r")
    cells = line.split("\t") if "\t" in line else line.split()
    return cells if any(cell.strip() for cell in cells) else []


def _column(field: str) -> int:
    try:
        return COLUMNS[field] if field in COLUMNS else int(field)
    except ValueError as error:
        raise Unreadable(
            f"field {field!r} must be words, tags, or the number of a column, because columns have "
            "no names"
        ) from error


def _record(sentence: list[list[str]], columns: dict[str, int], file: str, first: int) -> Record:
    where = f"the sentence from line {first}"
    for field, column in columns.items():
        if not -len(sentence[0]) <= column < len(sentence[0]):
            raise Unreadable(f"{where} has no column {field} but {len(sentence[0])} columns")
    values = {field: [cells[column] for cells in sentence] for field, column in columns.items()}
    return Record(values, file, first, where)
