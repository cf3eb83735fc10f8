"""`meshloom train` as a user meets it: what it writes, prints and refuses."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.command import ROOT, SMALL, TRAIN, arguments, meshloom, records, started

FEW = ["--train.steps", "3", "--train.checkpoint.every-steps", "2"]


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished run and what it printed."""
    path = tmp_path_factory.mktemp("train") / "run"
    out = meshloom(
        "train", "tiny", *SMALL[:-1], "--sample", "20", *FEW, "--run-dir", str(path)
    ).stdout
    return path, out


def test_run_directory_holds_all_that_is_promised(run: tuple[Path, str]) -> None:
    path, _ = run
    names = {p.name for p in path.iterdir()}
    files = {"config.yaml", "environment.json", "metrics.jsonl", "loss.png", "timeline.jsonl"}
    assert names == files | {"checkpoints", "tensorboard"}
    assert yaml.safe_load((path / "config.yaml").read_text())["train"]["steps"] == 3
    assert yaml.safe_load((path / "config.yaml").read_text())["model"]["dtype"] == "float32"
    assert json.loads((path / "environment.json").read_text())[0]["versions"]["jax"]
    assert sorted(p.name for p in (path / "checkpoints").iterdir()) == ["2", "3"]
    assert (path / "loss.png").read_bytes()[:4] == b"\x89PNG"


def test_metrics_say_what_the_readme_says(run: tuple[Path, str]) -> None:
    last = records(run[0])[-1]
    wanted = (
        "step loss examples_seen tokens_seen learning_rate grad_norm tokens_per_second "
        "flops_per_second step_seconds data_wait time"
    )
    assert set(wanted.split()) <= set(last)
    assert (last["step"], last["examples_seen"], last["tokens_seen"]) == (3, 24, 24 * 32)
    evaluation = json.loads((run[0] / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"step", "eval_loss", "eval_perplexity", "eval_bits_per_byte"} <= set(evaluation)


def test_output_names_kernel_checkpoints_sample_and_the_way_on(run: tuple[Path, str]) -> None:
    path, out = run
    assert "attention: blocked kernel" in out
    assert re.search(r"rate only rises: warm-up takes \d+ steps of 3; try --train.opt", out)
    assert "a sample of" in out and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", out)
    assert f"checkpoints: {path / 'checkpoints'}, the last at step 3" in out
    assert f"train --run-dir {path} --resume --train.steps 6" in out


def test_evaluate_and_generate_read_the_run(run: tuple[Path, str]) -> None:
    path, _ = run
    out = meshloom("evaluate", str(path), "--batches", "2").stdout
    evaluation = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    assert f"step 3  held-out loss {evaluation['eval_loss']:.4f}" in out
    words = ["generate", str(path), "--prompt", "def ", "--tokens", "5", "--temperature", "0"]
    first, second = meshloom(*words).stdout, meshloom(*words, "--samples", "2").stdout
    assert first.startswith("def ") and len(first.removesuffix("\n")) > len("def ")
    assert second.count(first.rstrip("\n")) == 2
    error = meshloom("evaluate", str(path), "--step", "7", expect=1).stderr
    assert "complete checkpoint of step 7" in error and "try step 2 or 3" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mesh.tensor", "3"], "mesh tensor 3 must divide the number of devices, 1"),
        (["--model.vocab-size", "200"], "model.vocab_size=200 must be at least 257"),
        (["--train.accumulation", "3"], "train.batch_size=8 must be a multiple of 3"),
        (
            ["--data.sequence-length", "512"],
            "data.sequence_length=512 must be at most model.max_length=256",
        ),
        (["--model.remat", "offload"], "model.remat=offload must have an accelerator"),
        (["--model.attention", "cudnn"], "model.attention=cudnn must run on a GPU"),
        (["--data.sources", "text:/nowhere/*.txt"], "data.sources='text:/nowhere/*.txt' must"),
        (
            ["--model.num-layers", "4000", "--model.mlp-dim", "16777216"],
            "mesh of 1 devices must hold the parameters and the optimizer's state",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    result = meshloom("train", "tiny", *SMALL, *FEW, "--run-dir", str(path), *words, expect=1)
    assert message in result.stderr and "; try " in result.stderr
    assert "Traceback" not in result.stderr
    assert not path.exists()


def test_a_directory_with_a_run_is_refused_before_any_data_is_read(run: tuple[Path, str]) -> None:
    words = ["--run-dir", str(run[0]), "--data.sources", "text:/nowhere/*.txt"]
    error = meshloom("train", "tiny", *SMALL, *FEW, *words, expect=1).stderr
    assert f"run_dir={run[0]} must not hold a run already" in error


NO_WANDB = f"import sys; sys.modules['wandb'] = None\n{TRAIN}"


def test_a_start_refused_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "run"
    (path / "logs").mkdir(parents=True)
    (path / "logs" / "mine.txt").write_text("a launcher's")
    before = contents(tmp_path)
    words = ["tiny", *SMALL, *FEW, "--run-dir", str(path), "--wandb", "project"]
    process = started(*words, code=NO_WANDB)
    error = process.communicate()[1]
    assert process.returncode == 1 and "wandb=project must have the package" in error
    assert contents(tmp_path) == before
    meshloom("train", *words[:-2])


@pytest.mark.parametrize("way", ["--overwrite", "--resume"])
def test_a_start_refused_leaves_the_run_that_was_there(
    way: str, run: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(run[0], path)
    with (path / "metrics.jsonl").open("a") as records_of_later_steps:
        records_of_later_steps.write('{"step": 99}\n')
    before = contents(tmp_path)
    size = ["tiny", *SMALL, *FEW] if way == "--overwrite" else ["--train.steps", "9"]
    process = started(*size, "--run-dir", str(path), way, "--wandb", "project", code=NO_WANDB)
    error = process.communicate()[1]
    assert process.returncode == 1 and "wandb=project must have the package" in error
    assert contents(tmp_path) == before


def test_a_run_directory_says_all_that_a_resume_or_start_needs(
    run: tuple[Path, str], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(run[0], path)
    more = ["--run-dir", str(path), "--resume-or-start", "--train.steps", "4", "--sample", "0"]
    assert "resuming from step 3" in meshloom("train", *more).stdout
    absent = ["--run-dir", str(tmp_path / "absent"), "--resume-or-start"]
    error = meshloom("train", *absent, expect=2).stderr
    assert f"try meshloom train tiny --run-dir {tmp_path / 'absent'} --resume-or-start" in error
    assert not (tmp_path / "absent").exists()


def test_nan_loss_ends_the_run_with_its_step_and_rows(tmp_path: Path) -> None:
    path = tmp_path / "run"
    hot = ["--train.optimizer.learning-rate", "1e15", "--train.optimizer.warmup-steps", "0"]
    error = meshloom("train", "tiny", *SMALL, *FEW, "--run-dir", str(path), *hot, expect=1).stderr
    assert "of step 2 (data rows 8 to 15, from " in error and ") must be finite" in error
    assert "--train.bad-numbers.non-finite skip" in error


def test_processes_that_find_different_text_are_refused(tmp_path: Path) -> None:
    for number in (0, 1):
        (tmp_path / f"{number}.txt").write_text(f"{number} is the number of this process.\n" * 400)
    program = (
        "import os, sys\n"
        "from launch.cli import program\n"
        "text = 'text:' + sys.argv[1] + '/' + os.environ['JAX_PROCESS_ID'] + '.txt'\n"
        "program(['train', 'tiny', '--data.sources', text, *sys.argv[2:]])\n"
    )
    launcher = (
        "import sys; from launch.cluster.local import LocalOptions, run_local\n"
        "command = [sys.executable, '-c', *sys.argv[1:]]\n"
        "sys.exit(run_local(command, LocalOptions(processes=2, devices_per_process=1)))"
    )
    words = [*SMALL, *FEW, "--train.eval-batches", "0", "--run-dir", str(tmp_path / "run")]
    result = subprocess.run(
        [sys.executable, "-c", launcher, program, str(tmp_path), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert "of the processes must be equal" in result.stdout + result.stderr
    assert not (tmp_path / "run").exists()


def test_a_reader_that_goes_away_is_not_reported_as_an_error() -> None:
    words = " ".join(arguments("presets", "--json"))
    result = subprocess.run(
        ["bash", "-c", f"{words} | head -1; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode in (0, 141) and result.stderr == ""


def test_a_short_position_table_does_not_fail_a_finished_run(tmp_path: Path) -> None:
    words = [
        "--model.positions",
        "learned",
        "--model.max-length",
        "32",
        "--train.eval-batches",
        "0",
        "--sample",
        "200",
    ]
    out = meshloom("train", "tiny", *SMALL, *FEW, "--run-dir", str(tmp_path / "run"), *words).stdout
    assert "a sample of 31 tokens" in out


def test_a_run_goes_on_when_the_reader_of_its_output_goes_away(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = " ".join(arguments("train", "tiny", *SMALL, *FEW, "--run-dir", str(run)))
    result = subprocess.run(
        ["bash", "-c", f"{words} 2>&1 | head -3; exit ${{PIPESTATUS[0]}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 3
    assert [record["step"] for record in records(run)] == [1, 2, 3]
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "3"]


def test_a_checkpoint_that_cannot_be_written_ends_the_run_with_a_clear_error(
    tmp_path: Path,
) -> None:
    run = tmp_path / "run"
    words = [*SMALL, "--train.eval-batches", "0", "--run-dir", str(run)]
    words += ["--train.steps", "6", "--train.checkpoint.every-steps", "2"]
    limited = ["bash", "-c", 'ulimit -f 60; exec "$@"', "limited"]
    result = subprocess.run(
        [*limited, *arguments("train", "tiny", *words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    # TensorStore's threads may print tracebacks of their own at any moment.
    assert (
        f"error: checkpoints={run / 'checkpoints'} must be writable, because "
        "saving step 2 failed: File too large" in result.stderr
    )
    assert [r["step"] for r in records(run)][:2] == [1, 2]
