import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch import cli
from launch.commands.table import COMMANDS
from launch.config import save
from launch.presets.preset import preset
from tests.command import ROOT

HEAVY = "jax flax optax orbax grain numpy matplotlib tensorflow_datasets pyarrow tokenizers"


def meshloom(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a fresh process, 80 columns wide."""
    return subprocess.run(
        [sys.executable, "-m", "launch", *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
    )


def exit_code(*arguments: str) -> int:
    """Exit code of the command run in this process."""
    try:
        return cli.main(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "train --help",
        "train tiny --help",
        "train gpt3-175b --help",
        "evaluate --help",
        "generate --help",
        "chat --help",
        "checkpoint --help",
        "checkpoint list --help",
        "data --help",
        "data prepare --help",
        "plan --help",
        "presets --help",
        "launch --help",
        "launch local --help",
        "launch slurm --help",
        "launch k8s --help",
        "launch tpu-vm --help",
    ],
)
def test_help_imports_nothing_heavy(arguments: str) -> None:
    program = f"""
import sys
from launch.cli import main
try:
    code = main({arguments.split()!r})
except SystemExit as ended:
    code = ended.code
heavy = [name for name in {HEAVY.split()!r} if name in sys.modules]
sys.exit(f"imported {{heavy}}" if heavy else code)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("\njaxlib " if arguments == "--version" else "meshloom") in done.stdout
    about = [line for line in done.stdout.splitlines() if not re.match("usage: |[│╭╰]", line)]
    assert max(map(len, about), default=0) <= 80


def test_help_documents_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("train", "tiny", "--help") == 0
    lines = [line.strip(" │|") for line in capsys.readouterr().out.splitlines()]
    flags = [i for i, line in enumerate(lines) if re.match(r"--[a-z]", line)]
    assert len(flags) > 60
    for here in flags:
        text = lines[here + 1]
        assert re.match(r"[A-Z\[&`]", text), lines[here]
    text = [line for line in lines[flags[0] :] if not re.match("[╭╰─]", line)]
    width = max(len(line) for line in text if not line.startswith("--"))
    for above, below in itertools.pairwise(text):
        ended = not above or not below or above.endswith((")", ".")) or above.startswith("--")
        assert ended or len(f"{above} {below.split()[0]}") > width, f"{above!r} / {below!r}"


def test_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("trian tiny", "no command 'trian'; try train"),
        ("train tinny", "preset=tinny must be one of"),
        ("train gpt2-124", "try gpt2-124m"),
        ("train gpt2", "try gpt2-124m or gpt2-355m or gpt2-774m"),
        ("train", "needs a preset, as in `meshloom train tiny`"),
        ("train tiny --model.num-layres 3", "--model.num-layers INT"),
        ("train tiny --model.num-layers many", "many"),
        ("train tiny --model.norm bachnorm", "'layernorm', 'rmsnorm'"),
        ("train tiny --model.num-heads 3 --model.num-kv-heads 2", "must divide"),
        ("train tiny --config some.yaml", "a preset or --config, not both"),
        ("train tiny --run-dir gs://bucket/run", "run_dir=gs:/bucket/run must be a local path"),
        ("evaluate runs/x --batches 0", "batches=0 must be at least 1"),
        ("generate runs/x --samples 0", "samples=0 must be at least 1"),
        ("generate runs/x --tokens -5", "tokens=-5 must be at least 1"),
        ("evaluate", "RUN"),
        ("presets --jsno", "--json"),
        ("checkpoint", "list, verify, show, diff, prune"),
        ("checkpoint verfy", "meshloom checkpoint has no command 'verfy'; try verify"),
        ("checkpoint list", "RUN"),
        ("data prepre", "meshloom data has no command 'prepre'; try prepare"),
        ("data prepare --data.held-out 5", "error: data.held_out=5.0 must be at most 0.999"),
        ("data prepare --data.source X", "run meshloom data prepare --help"),
        ("data tokenizer --data.sources text:*.txt", "the path of the tokenizer.json to write"),
        ("data tokenizer --vocab-size 300", "the path of the tokenizer.json to write"),
        ("launch", "needs `local`"),
        ("launch foo", "meshloom launch has no command 'foo'; try local"),
        ("launch slurn train tiny", "has no command 'slurn'; try slurm"),
        ("launch local", "needs a command"),
        ("launch local --processes 2 trian tiny", "meshloom has no command 'trian'; try train"),
        ("launch local --proceses 2 train tiny", "--processes {None}|INT"),
    ],
)
def test_wrong_usage_names_the_remedy(
    arguments: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments.split()) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("verify-resume", "PRESET"),
        ("launch local", "COMMAND"),
        ("launch slurm", "train PRESET"),
        ("launch k8s", "train PRESET"),
        ("launch tpu-vm", "train PRESET"),
        ("checkpoint diff", "RUN A B"),
    ],
)
def test_help_names_what_must_follow(
    command: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*command.split(), "--help") == 0
    assert word in capsys.readouterr().out


def test_a_forgotten_resume_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(preset("tiny"), tmp_path / "config.yaml")
    assert exit_code("train", "--run-dir", str(tmp_path), "--train.steps", "50") == 2
    shown = capsys.readouterr().err
    assert f"needs a preset, or --resume to continue the run in {tmp_path}" in shown


def test_config_file_is_a_starting_point_and_flags_change_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(preset("llama3-1b"), tmp_path / "config.yaml")
    assert exit_code("train", f"--config={tmp_path / 'config.yaml'}", "--help") == 0
    assert "Defaults shown are those of llama3-1b" in capsys.readouterr().out


def test_resume_begins_from_the_config_of_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(preset("palm-8b"), tmp_path / "config.yaml")
    assert exit_code("train", "--resume", "--run-dir", str(tmp_path), "--help") == 0
    assert "Defaults shown are those of palm-8b" in capsys.readouterr().out


def test_resume_of_a_directory_that_holds_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("train", "--resume", "--run-dir", str(tmp_path / "none")) == 1
    assert f"run={tmp_path / 'none'} must be a run directory" in capsys.readouterr().err


def test_module_and_command_are_the_same() -> None:
    done = meshloom("presets", "--json")
    assert done.returncode == 0 and '"name": "tiny"' in done.stdout


def test_mesh_that_does_not_fit_ends_without_a_run_directory(tmp_path: Path) -> None:
    done = meshloom("train", "tiny", "--mesh.stage", "2", "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 1
    assert "error: mesh.stage=2 must be 1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
