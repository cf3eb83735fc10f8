"""Series in the .ts format, and what is refused of it."""

from pathlib import Path

import numpy as np
import pytest

from data.sources.source import Unreadable
from data.sources.ts import Ts

HEADER = "# of sktime\n@problemName A\n@timeStamps false\n@classLabel true a b\n@data\n"
SOURCE = Ts("ts:*")


def read(path: Path, text: str, *fields: str) -> list[tuple]:
    path.write_text(text)
    (piece,) = SOURCE.divide_file(str(path), len(text))
    records = SOURCE.records(piece, fields or ("series", "label"))
    return [(*record.values.values(), record.where) for record in records]


def test_channels_labels_and_lines(tmp_path: Path) -> None:
    first, second = read(tmp_path / "a.ts", HEADER + "1,2,3:4,5,6:a\n\n-1e-3,0,7:1,1,1:b\n")
    np.testing.assert_array_equal(first[0], [[1, 4], [2, 5], [3, 6]])
    assert first[0].dtype == np.float32
    assert (first[1], second[1]) == ("a", "b") and (first[2], second[2]) == ("line 6", "line 8")


def test_series_without_labels_can_be_asked(tmp_path: Path) -> None:
    text = HEADER.replace("true a b", "false") + "1,2:3,4\n"
    ((series, _),) = read(tmp_path / "a.ts", text, "series")
    np.testing.assert_array_equal(series, [[1, 3], [2, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + "1,?,3,NaN:a\n", "line 6 lacks 2 of 4 values"),
        (HEADER + "1,2:1,2,3:a\n", r"line 6 must have channels of one length.*\[2, 3\]"),
        (HEADER + "1,x:a\n", "line 6 holds what is no number"),
        (HEADER + "1,1e99:a\n", "line 6 holds numbers that are not finite"),
        (HEADER.replace("false", "true") + "(0,1),(1,2):a\n", "@timeStamps is true"),
        ("@classLabel true\n", "no line @data"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(Unreadable, match=message):
        read(tmp_path / "a.ts", text)


def test_other_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="no field 'text' but series and label"):
        read(tmp_path / "a.ts", HEADER, "text")
