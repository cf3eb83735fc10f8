"""CSV and TSV (RFC 4180), plain or compressed: a row is a document, the first names the fields."""

import csv
import sys
from collections.abc import Iterator, Sequence

from data.sources.lines import lines
from data.sources.paths import Paths
from data.sources.source import Piece, Record, Unreadable
from data.sources.utf8 import BOM, decoded


class Csv(Paths):
    """`csv:GLOB`; cells are parted by tabs in files called .tsv (.tsv.gz, .tsv.zst)."""

    has_fields = True

    def divide_file(self, file: str, size: int) -> list[Piece]:
        """The file, whole: where a quoted cell holds newlines is known only from its beginning."""
        return [Piece(file=file, start=0, stop=size, size=size)]

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        """Rows in order; a record's place is the number of the line its row ends in."""
        csv.field_size_limit(sys.maxsize)
        tab = piece.file.removesuffix(".gz").removesuffix(".zst").endswith(".tsv")
        rows = csv.reader(_lines(piece.file), delimiter="\t" if tab else ",", strict=True)
        try:
            names = next(rows, [])
            if not set(fields) <= set(names) or len(set(names)) < len(names):
                asked = " and ".join(map(repr, fields))
                raise Unreadable(
                    f"its first row must name each field once, {asked} among them, but it is "
                    f"{names}",
                    names,
                )
            for cells in rows:
                where = f"the row that ends in line {rows.line_num}"
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise Unreadable(f"{where} must have {len(names)} cells, but has {len(cells)}")
                values = dict(zip(names, cells, strict=True))
                yield Record(values, piece.file, rows.line_num, where)
        except csv.Error as error:
            raise Unreadable(
                f"line {rows.line_num} is no CSV ({error}), perhaps cut off"
            ) from error


def _lines(file: str) -> Iterator[str]:
    for line, place in lines(file, 0, sys.maxsize):
        mark = len(BOM) if place == 0 and line.startswith(BOM) else 0
        yield decoded(line[mark:], place + mark) + "\n"
