"""Our TFDS builder, prepared to array_record without TensorFlow."""

import subprocess
import sys
from pathlib import Path

from data.records import divide_records, prepare_stdlib, read_records
from data.stdlib_files import stdlib_files


def test_every_file_is_one_record(tmp_path: Path) -> None:
    folder = prepare_stdlib(tmp_path)
    pieces = divide_records(folder)
    texts = [text for piece in pieces for text, _ in read_records(piece, "text")]
    files = [Path(file).read_text(encoding="utf-8") for file in stdlib_files()]
    assert texts == files
    assert prepare_stdlib(tmp_path) == folder


def test_tensorflow_and_jax_stay_out(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from data.records import *\n"
        "folder = prepare_stdlib(pathlib.Path(sys.argv[1]))\n"
        "next(read_records(divide_records(folder)[0], 'text'))\n"
        "assert not {'tensorflow', 'jax', 'grain'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
