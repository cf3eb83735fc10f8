"""What the system says of the user's files, and paths as they are written."""

import errno
import os
import socket
from pathlib import Path

import pytest

from data import system


@pytest.mark.parametrize("number", sorted(system.REMEDIES))
def test_what_lasts_names_the_setting_the_file_and_a_remedy(number: int) -> None:
    with (
        pytest.raises(ValueError, match=r"^x=1 must be usable, because y, but /f: .*; try \w"),
        system.usable("x=1", "y"),
    ):
        raise OSError(number, os.strerror(number), "/f")


def test_what_may_pass_is_no_refusal() -> None:
    for number in (errno.EIO, errno.ESTALE, errno.EINTR, errno.ETIMEDOUT):
        with pytest.raises(OSError), system.usable("x", "y"):
            raise OSError(number, os.strerror(number))


def test_only_a_regular_file_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("loop").symlink_to("loop")
    Path("dangling").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as here:
        here.bind("socket")
    for name, what in {
        "fifo": "Not a regular file",
        "socket": "Not a regular file",
        "/dev/zero": "Not a regular file",
        ".": "Is a directory",
        "loop": "Too many levels of symbolic links",
        "dangling": "No such file",
        "n" * 300: "File name too long",
    }.items():
        with pytest.raises(ValueError, match=what), system.usable("x", "y"):
            system.require_regular(name)
    Path("file").write_text("four")
    assert system.require_regular("file").st_size == 4


def test_a_path_is_taken_as_it_is_written_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert system.expanded("x", "~/a") == "/home/me/a"
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "a").touch()
    assert system.expanded("x", "~/a") == "~/a"
    with pytest.raises(ValueError, match="no home directory of '~nobody-here' is known"):
        system.expanded("x", "~nobody-here/a")
    with pytest.raises(ValueError, match="no path holds a zero byte"):
        system.expanded("x", "a\0b")
