import re
from pathlib import Path

import pytest

from launch import cli
from launch.commands.plan import count, plan_options, require_folder, unused, with_tokens
from launch.plan.topology import parse
from train.report.numbers import size


@pytest.mark.parametrize(
    ("text", "expected"),
    [("300B", 300e9), ("4M", 4e6), ("1.5t", 1.5e12), ("16K", 16_000), ("512", 512), ("1_000", 1e3)],
)
def test_units(text: str, expected: float) -> None:
    assert count(text, "tokens", "300B") == expected


@pytest.mark.parametrize("text", ["", "B", "4MB", "-3", "0", "nanB", "1e400", "1e30", "infT"])
def test_other_numbers_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"tokens=.*try --tokens 300B"):
        count(text, "tokens", "300B")


def test_bytes_in_words() -> None:
    assert (size(3 * 2**20), size(3 * 2**30)) == ("3.0 MiB", "3.00 GiB")


def test_batch_is_the_nearest_that_can_be_cut_and_tokens_set_the_length() -> None:
    flags = "llama3-8b --on v5p-128 --mesh.tensor 4 --train.accumulation 2".split()
    options = plan_options([*flags, "--batch-tokens", "4M", "--tokens", "15T"])
    train = with_tokens(options, parse(options.on)).train
    assert train.batch_size == 480  # of 8,192 tokens; fsdp takes 16, in two parts
    assert (train.steps - 1) * 480 * 8192 < 15e12 <= train.steps * 480 * 8192
    fixed = plan_options([*flags, "--mesh.replica", "8", "--mesh.fsdp", "2", "--batch-tokens", "1"])
    assert with_tokens(fixed, parse(fixed.on)).train.batch_size == 32
    left = plan_options([*flags, "--mesh.replica=-1", "--mesh.fsdp", "1", "--batch-tokens", "1"])
    assert with_tokens(left, parse(left.on)).train.batch_size == 32, "16 replicas in two parts"


def test_batch_of_a_search_is_the_nearest_that_a_layout_cuts() -> None:
    flags = "llama3-405b --on h100x16384 --search --batch-tokens".split()
    for tokens, rows in (("16M", 2048), ("4M", 512), ("200M", 24_576)):
        options = plan_options([*flags, tokens])
        assert with_tokens(options, parse(options.on)).train.batch_size == rows


@pytest.mark.parametrize(
    ("name", "lacking"),
    [
        ("tiny-vit", "kind=vision must read tokens"),
        ("tiny-photos", "kind=convnet must read tokens"),
        ("tiny-lstm", "kind=recurrent must have attention"),
    ],
)
@pytest.mark.parametrize("flag", ["", "--elastic"])
def test_other_families_are_refused_before_anything_is_compiled(
    name: str, lacking: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["plan", name, "--on", "v5p-8", *flag.split()]) == 1
    said = capsys.readouterr().err
    assert f"model.{lacking} to be planned" in said and "compiling" not in said


def test_files_are_not_written_below_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "folder"):
        flags = ["--on", "v5p-8", "--mesh.fsdp", "4", "--out", str(out)]
        assert cli.main(["plan", "llama3-8b", *flags]) == 1
        assert f"out={out} must be a folder, " in capsys.readouterr().err
    require_folder(tmp_path / "new" / "folder")


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        ("", 2, "needs a preset"),
        ("llama3-9b --on v5p-8", 2, "llama3-8b"),
        ("llama3-8b", 2, "needs --on"),
        ("llama3-8b --config a.yaml --on v5p-8", 2, "not both"),
        ("llama3-8b --on v5q-8", 1, "v4, v5e, v5p"),
        ("llama3-8b --on v5p-8", 1, "--mesh.fsdp 4"),
        ("llama3-8b --on v5p-8 --mesh.fsdp 3", 1, "number of devices, 4"),
        ("llama3-405b --on v5p-8 --mesh.fsdp 4", 1, "256 chips"),
        ("llama3-8b --on v5p-8 --tokens many", 1, "--tokens 300B"),
        ("llama3-1b --on v5p-8 --mesh.fsdp 4 --model.dtype float32", 1, "must be bfloat16"),
        ("llama3-1b --on v5p-8 --elastic --model.dtype float32", 1, "must be bfloat16"),
        ("llama3-8b --on v5p-8 --mesh.fsdp 3 --batch-tokens 4M", 1, "number of devices, 4"),
    ],
)
def test_bad_input(
    words: str,
    code: int,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", *words.split()]) == code
    assert re.search(re.escape(expected), capsys.readouterr().err)
    assert not list(tmp_path.iterdir()), "the compiler was not asked"


def test_no_plan_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tmp_path / "plan"
    assert unused(first) == first
    first.mkdir()
    (first / "plan.json").write_text("{}")
    (tmp_path / "plan-2").mkdir()
    assert unused(first) == tmp_path / "plan-3"
    asked = f"plan tiny --on v5e-1 --mesh.fsdp 1 --out {first}".split()
    assert cli.main(asked) == 1
    assert f"try --out {tmp_path / 'plan-3'}" in capsys.readouterr().err
    assert (first / "plan.json").read_text() == "{}"
