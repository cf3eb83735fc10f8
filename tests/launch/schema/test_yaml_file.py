"""YAML of the user's: whatever is wrong with it is said with the file's name."""

import os
from pathlib import Path

import pytest

from launch.schema.yaml_file import load_dict

WRONG = {
    "a depth that Python has not": "[" * 5000,
    "a depth of mappings": "{a: " * 5000,
    "a number of 5,000 digits": "a: " + "9" * 5000,
    "a date that there is not": "a: 2001-99-99",
    "a time that there is not": "a: !!timestamp x",
    "a boolean that is none": "a: !!bool x",
    "a number that is none": "a: !!int ''",
    "bytes that are none": "a: !!binary \u00e4",
    "a key that is a list": "? [a]\n: b",
    "a tag of Python": "a: !!python/object:os.system x",
    "a merge of nothing": "<<: 3",
    "a zero byte": "a: \0",
    "an unclosed quote": "a: 'x",
    "a version to come": "%YAML 9.9\n---\na: b",
    "not UTF-8": b"a: \xff",
    "half a UTF-16": b"\xff\xfea",
}


@pytest.mark.parametrize("content", WRONG.values(), ids=WRONG)
def test_what_cannot_be_read(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        ValueError, match=rf"^config={path} must be a readable YAML file, but: [\w']"
    ):
        load_dict(path)


@pytest.mark.parametrize("content", ["a: &a [*a]", "a: &x\n  y: *x\n"])
def test_what_holds_itself(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"must hold at most 10,000 values"):
        load_dict(path)


def test_aliases_that_make_much_of_little(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    lines = [f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]" for i in range(1, 30)]
    path.write_text("\n".join(["k0: &k0 x", *lines]))
    with pytest.raises(ValueError, match=r"but its aliases make more of it"):
        load_dict(path)
    path.write_text("a: &a {x: 1}\nb: *a\n")
    assert load_dict(path) == {"a": {"x": 1}, "b": {"x": 1}}


@pytest.mark.parametrize("place", ["fifo", "folder", "loop", "nothing", "n" * 300])
def test_what_is_no_file(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    if place == "fifo":
        os.mkfifo(path)
    elif place == "folder":
        path.mkdir()
    elif place == "loop":
        path.symlink_to(path)
    with pytest.raises(ValueError, match=r"must be a readable YAML file, but: [A-Z]"):
        load_dict(path)
