"""Which files of the standard library are taken."""

from pathlib import Path

from data.stdlib_files import stdlib_files, stdlib_root


def test_sources_and_texts_without_tests() -> None:
    files = [Path(file).relative_to(stdlib_root()) for file in stdlib_files()]
    names = {file.as_posix() for file in files}
    assert {"argparse.py", "pydoc_data/topics.py", "json/decoder.py"} <= names
    left_out = {"test", "tests", "idlelib", "site-packages", "__pycache__"}
    assert not [file for file in files if left_out & set(file.parts)]
    assert {file.suffix for file in files} <= {".py", ".txt", ".rst"}
    assert 8e6 < sum(Path(file).stat().st_size for file in stdlib_files()) < 16e6
    assert files == sorted(files, key=str)
