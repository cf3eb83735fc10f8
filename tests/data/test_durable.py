"""Durable writes: what a reader sees at every instant, and what reaches the disk in which order."""

import os
from pathlib import Path

import pytest

from data import durable


def test_write_replaces_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write(path, b"first")
    durable.write(path, "zw\u00f6lf\n")
    assert path.read_bytes() == "zw\u00f6lf\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    durable.write(path, "old")
    with pytest.raises(KeyboardInterrupt), durable.replacing(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with durable.replacing(path) as outer, durable.replacing(path) as inner:
        outer.write_text("outer")
        inner.write_text("inner")
    assert path.read_text() == "outer"


def test_the_folder_of_the_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        durable.write(tmp_path / "absent" / "file", "text")
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("flush", [True, False])
def test_content_is_flushed_before_the_name_and_the_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: bool
) -> None:
    calls = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
        fsync(descriptor)

    def replaced(source: Path, target: Path) -> Path:
        calls.append("rename")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    durable.write(tmp_path / "file", "text", flush=flush)
    assert calls == (["file", "rename", "folder"] if flush else ["rename"])
