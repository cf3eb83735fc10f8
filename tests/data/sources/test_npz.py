"""Arrays in .npz files, and what is refused of them."""

from pathlib import Path

import numpy as np
import pytest

from data.sources.npz import Npz
from data.sources.source import Record, Unreadable

SOURCE = Npz("npz:*")


def read(path: Path, *fields: str) -> list[Record]:
    (piece,) = SOURCE.divide_file(str(path), path.stat().st_size)
    return list(SOURCE.records(piece, fields))


def test_records_have_an_entry_of_each_array(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=images, label=np.array(["x", "y"]), more=np.zeros(7))
    first, second = read(path, "image", "label")
    np.testing.assert_array_equal(second.values["image"], images[1])
    assert first.values["label"] == "x" and first.origin == f"{path} at record 0"


def test_files_and_arrays_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((2, 3)), labels=np.zeros(3), one=np.float32(1))
    with pytest.raises(Unreadable, match=r"as many records each.* image 2, label 3"):
        read(path, "image", "label")
    with pytest.raises(Unreadable, match="no array 'map' or 'maps' but images, labels, one"):
        read(path, "map")
    with pytest.raises(Unreadable, match="'one' must count records"):
        read(path, "one")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unreadable, match=r"no whole \.npz file of plain arrays"):
        read(path, "image")
    np.savez(path, images=np.array([{}, 3], object))
    with pytest.raises(Unreadable, match=r"no whole \.npz file of plain arrays"):
        read(path, "image")
