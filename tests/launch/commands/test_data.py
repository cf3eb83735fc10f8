"""The command `meshloom data`."""

import re
from pathlib import Path

import pytest

from launch.commands.data import main
from launch.schema.command_line import UsageError


def flags_of(cache: Path) -> list[str]:
    flags = "--data.sources synthetic:50000 --data.held-out 0.2 --data.cache-dir".split()
    return [*flags, str(cache)]


def test_prepare_then_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = flags_of(tmp_path)
    main(["prepare", *flags])
    output = capsys.readouterr()
    assert output.out.startswith("ready to train on: ")
    assert "tokenized 1 of 1 shards, 0.1 MB of text" in output.err
    main(["show", *flags, "--row", "3"])
    output = capsys.readouterr()
    assert "digest     " in output.out and "held out   " in output.out
    assert "vocabulary 257 ids" in output.out
    assert re.search(
        r"\nrow 3 of epoch 1, which begins in the document at \d+ of synthetic, \d document",
        output.out,
    )
    assert output.err == ""


def test_show_of_a_single_document_says_that_nothing_is_left_for_evaluation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.txt").write_text("One document of some length. " * 40)
    flags = ["--data.sources", f"text:{tmp_path / 'one.txt'}", "--data.cache-dir", str(tmp_path)]
    main(["show", *flags, "--data.sequence-length", "64"])
    output = capsys.readouterr().out
    assert "held out   0 rows: data.held_out=0.01 must keep at least 64 tokens" in output
    assert "--train.eval-batches 0" in output and "smaller documents" in output
    assert "\ntrain      1 document, 1,160 bytes, " in output
    assert (
        f"\nrow 0 of epoch 1, which begins in the document at 0 of {tmp_path}/one.txt, " in output
    )


def test_a_tokenizer_is_trained_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = flags_of(tmp_path)
    path = str(tmp_path / "bpe.json")
    main(["tokenizer", path, "--vocab-size", "300", *flags])
    assert f"wrote {path}; use it with --data.tokenizer {path}" in capsys.readouterr().out
    main(["show", *flags, "--data.tokenizer", path])
    assert "vocabulary 300 ids" in capsys.readouterr().out
    with pytest.raises(ValueError, match="nothing is overwritten"):
        main(["tokenizer", path, *flags])


def test_a_source_of_no_known_kind() -> None:
    with pytest.raises(UsageError, match="try 'jsonl:a'"):
        main(["show", "--data.sources", "jsnl:a"])


def test_rows_are_counted_through_the_epochs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "one.txt").write_text("\x1b[31mred\a\u009b\r\n\t" * 15)
    flags = ["--data.sources", f"text:{tmp_path / 'one.txt'}", "--data.cache-dir", str(tmp_path)]
    flags += ["--data.sequence-length", "64", "--data.held-out", "0"]
    main(["show", *flags, "--row", "5000"])
    output = capsys.readouterr().out
    assert ", 2 rows\n" in output or ", 3 rows\n" in output
    assert "\nrow 5,000 of epoch " in output
    assert r"\x1b[31mred\x07\x9b\x0d" + "\n\t" in output
    with pytest.raises(UsageError, match=r"row=-1 must be at least 0, .*; try --row 0"):
        main(["show", *flags, "--row", "-1"])
