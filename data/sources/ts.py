"""Time series in the .ts format of the UCR archive and sktime: channels are parted by colons, their
values by commas, and the class label stands last."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from data.sources.lines import lines
from data.sources.paths import Paths
from data.sources.source import Piece, Record, Unreadable
from data.sources.utf8 import decoded

if TYPE_CHECKING:
    import numpy as np

FIELDS = ("series", "label")
MISSING = ("?", "NaN", "nan", "")


class Ts(Paths):
    """`ts:GLOB`; a record has the `series`, float32 [T, C], and its `label`."""

    has_fields = True
    example_where = "ArrowHead_TRAIN.ts"

    def divide_file(self, file: str, size: int) -> list[Piece]:
        """The file, whole: its first lines say how the others are read."""
        return [Piece(file=file, start=0, stop=size, size=size)]

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        """The series in order; a record's place is the number of its line."""
        if strange := [field for field in fields if field not in FIELDS]:
            raise Unreadable(f"a record has no field {strange[0]!r} but {' and '.join(FIELDS)}")
        data, classified = False, True
        for number, (line, place) in enumerate(lines(piece.file, 0, sys.maxsize), start=1):
            text = decoded(line, place).strip()
            if not text or text.startswith(("#", "%")):
                continue
            if data:
                series, label = _series(text, f"line {number}", classified)
                values = {"series": series, "label": label}
                yield Record(
                    {field: values[field] for field in fields},
                    piece.file,
                    number,
                    f"line {number}",
                )
            else:
                words = text.lower().split()
                data = words[0] == "@data"
                if words[:2] == ["@timestamps", "true"]:
                    raise Unreadable("@timeStamps is true, but steps in time must all be equal")
                if words[:2] == ["@classlabel", "false"]:
                    classified = False
        if not data:
            raise Unreadable("there is no line @data, after which series follow")


def _series(text: str, where: str, classified: bool) -> tuple["np.ndarray", str | None]:
    import numpy as np

    channels = text.split(":")
    label = channels.pop().strip() if classified else None
    values = [channel.split(",") for channel in channels]
    lengths = [len(each) for each in values]
    if not lengths or len(set(lengths)) > 1:
        raise Unreadable(f"{where} must have channels of one length, but they have {lengths}")
    cells = [value.strip() for channel in values for value in channel]
    if missing := sum(cell in MISSING for cell in cells):
        raise Unreadable(f"{where} lacks {missing:,} of {len(cells):,} values, and none is made up")
    try:
        with np.errstate(over="ignore"):
            series = np.array(values, np.float64).T.astype(np.float32)
    except ValueError as error:
        raise Unreadable(f"{where} holds what is no number ({error})") from error
    if not np.isfinite(series).all():
        raise Unreadable(f"{where} holds numbers that are not finite in float32")
    return np.ascontiguousarray(series), label
