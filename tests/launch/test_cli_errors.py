"""Commands that cannot go on: what is for the user, and what shows where it came from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.system import REMEDIES
from launch.commands import presets
from tests.command import ROOT
from tests.launch.test_cli import exit_code, meshloom


def test_our_refusal_is_a_clean_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("train", "--config", "absent.yaml") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: config=absent.yaml must be a readable YAML file")
    assert "Traceback" not in shown


@pytest.mark.parametrize("error", [RuntimeError("broken"), ValueError("from elsewhere")])
def test_error_that_is_not_for_the_user_shows_where_it_came_from(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> None:
        raise error

    monkeypatch.setattr(presets, "main", fail)
    assert exit_code("presets") == 70
    shown = capsys.readouterr().err
    assert "Traceback" in shown and str(error) in shown


@pytest.mark.parametrize("number", sorted(REMEDIES))
def test_what_the_system_says_and_would_say_again_is_for_the_user(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> None:
        raise OSError(number, os.strerror(number), "/a/file")

    monkeypatch.setattr(presets, "main", fail)
    assert exit_code("presets") == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: /a/file must be usable") and "; try " in shown
    assert os.strerror(number) in shown and "Traceback" not in shown


def test_numbers_that_no_memory_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(presets, "main", lambda _: len(bytearray(1 << 60)))
    assert exit_code("presets") == 1
    assert capsys.readouterr().err.startswith("error: memory must suffice for what was asked")


@pytest.mark.parametrize(
    ("streams", "code", "words"),
    [
        (">/dev/full", 1, "error: a file or the output must be usable"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
        ("| true", 0, ""),
    ],
)
def test_streams_that_take_nothing(streams: str, code: int, words: str) -> None:
    command = f"'{sys.executable}' -m launch presets {streams}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code
    assert done.stderr.startswith(words) and bool(done.stderr) == bool(words)


def test_an_encoding_that_lacks_a_letter_shows_its_number(tmp_path: Path) -> None:
    (tmp_path / "\u00e4.txt").write_text("\u00e4\u00f6 " * 9, encoding="utf-8")
    words = ["data", "show", "--data.sources", f"text:{tmp_path}/*.txt", "--data.held-out", "0"]
    words += ["--data.sequence-length", "8", "--data.cache-dir", str(tmp_path / "cache")]
    done = meshloom(*words, PYTHONIOENCODING="ascii:strict")
    assert done.returncode == 0, done.stderr
    assert "\\xe4.txt" in done.stdout and "\\xe4\\xf6 " in done.stdout


def test_a_cache_that_cannot_be_written_is_a_message_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a text of some words"}\n' * 400)
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0o500)
    code = (
        f"import resource, sys; sys.path[:0] = [{str(ROOT)!r}]\n"
        "from tests.modes import obey_modes; from launch.cli import main\n"
        "obey_modes()\n"
        "def prepare(cache):\n"
        f"    print(main(['data', 'prepare', '--data.sources', 'jsonl:{tmp_path}/a.jsonl',\n"
        f"        '--data.held-out', '0', '--data.cache-dir', '{tmp_path}/' + cache]))\n"
        "prepare('file'); prepare('closed')\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard)); prepare('cache')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard)); prepare('cache')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    *codes, ready, last = done.stdout.splitlines()
    assert codes == ["1", "1", "1"] and last == "0" and "400 documents" in ready
    for cache, what in {
        "file": "Not a directory",
        "closed": "Permission denied",
        "cache": "File too large; try raising the limit",
    }.items():
        said = f"error: data.cache_dir='{tmp_path}/{cache}' must be usable, because the tokens"
        (line,) = [line for line in done.stderr.splitlines() if line.startswith(said)]
        assert what in line


def test_interrupt_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(arguments: list[str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(presets, "main", interrupt)
    assert exit_code("presets") == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_package_of_another_project_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "__init__.py").write_text("")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from launch.cli import main; sys.exit(main(['presets']))",
        ],
        cwd=ROOT.parent,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"package train={tmp_path / 'train'} must be {ROOT / 'train'}" in done.stderr
