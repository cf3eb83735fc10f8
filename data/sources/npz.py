"""Arrays of NumPy in an .npz file: the first dimension counts records."""

import zipfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from data import system
from data.sources.paths import Paths
from data.sources.source import Piece, Record, Unreadable

if TYPE_CHECKING:
    import numpy as np


class Npz(Paths):
    """`npz:GLOB`, of files with an array for each field; it is named as the field, or as several of
    them: `image` or `images`. Arrays of three and more dimensions are images or maps of them, of
    two series; others are names or numbers."""

    has_fields = True
    example_where = "train.npz"

    def divide_file(self, file: str, size: int) -> list[Piece]:
        return [Piece(file=file, start=0, stop=size, size=size)]

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        arrays = {field: array for field, array in _arrays(piece.file, fields)}
        lengths = {field: len(array) for field, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise Unreadable(
                "arrays must have as many records each, but they have "
                + ", ".join(f"{field} {length:,}" for field, length in lengths.items())
            )
        for number in range(min(lengths.values(), default=0)):
            where = f"record {number}"
            values = {field: _plain(array[number]) for field, array in arrays.items()}
            yield Record(values, piece.file, number, where)


def _arrays(file: str, fields: Sequence[str]) -> Iterator[tuple[str, "np.ndarray"]]:
    import numpy as np

    try:
        # NumPy leaves a file open that is no whole archive.
        with open(file, "rb") as stream, np.load(stream) as archive:
            for field in fields:
                names = [name for name in (field, f"{field}s") if name in archive.files]
                if not names:
                    has = ", ".join(archive.files)
                    raise Unreadable(f"there is no array {field!r} or '{field}s' but {has}")
                array = archive[names[0]]
                if array.ndim == 0:
                    raise Unreadable(f"array {names[0]!r} must count records, but it is a number")
                yield field, array
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise Unreadable(f"is no whole .npz file of plain arrays ({system.said(error)})") from error


def _plain(entry: Any) -> Any:
    return entry if entry.shape else entry.item()
