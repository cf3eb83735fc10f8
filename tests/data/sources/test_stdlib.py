"""The standard library: which of its files are taken, and that each is a record."""

import subprocess
import sys
from pathlib import Path

from data.sources.array_record import divide_records, read_records
from data.sources.stdlib import prepare_stdlib, stdlib_files, stdlib_root


def test_sources_and_texts_without_tests() -> None:
    files = [Path(file).relative_to(stdlib_root()) for file in stdlib_files()]
    names = {file.as_posix() for file in files}
    assert {"argparse.py", "pydoc_data/topics.py", "json/decoder.py"} <= names
    left_out = {"test", "tests", "idlelib", "site-packages", "__pycache__"}
    assert not [file for file in files if left_out & set(file.parts)]
    assert {file.suffix for file in files} <= {".py", ".txt", ".rst"}
    assert 8e6 < sum(Path(file).stat().st_size for file in stdlib_files()) < 16e6
    assert files == sorted(files, key=str)


def test_every_file_is_a_record(tmp_path: Path) -> None:
    folder = prepare_stdlib(tmp_path)
    pieces = divide_records(folder)
    texts = [r.values["text"] for piece in pieces for r in read_records(piece, ("text",))]
    files = [Path(file).read_text(encoding="utf-8") for file in stdlib_files()]
    assert texts == files
    assert prepare_stdlib(tmp_path) == folder


def test_tensorflow_and_jax_stay_out(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from data.sources.stdlib import *\n"
        "from data.sources.array_record import *\n"
        "folder = prepare_stdlib(pathlib.Path(sys.argv[1]))\n"
        "next(read_records(divide_records(folder)[0], ('text',)))\n"
        "assert not {'tensorflow', 'jax', 'grain'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
