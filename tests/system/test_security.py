"""What docs/security.md promises of the code as a whole: no code from data, no secrets written."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import ROOT, SMALL, arguments, meshloom

ROOMS = ("model", "data", "train", "launch")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
UNSAFE_CALLS = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.full_load",
    "yaml.unsafe_load",
    "tarfile.open",
    "shutil.unpack_archive",
}
SECRETS = {
    "WANDB_API_KEY": "fake-1f0e7a55c1d24d3f9b",
    "HF_TOKEN": "fake-hf-77ab61",
    "AWS_SECRET_ACCESS_KEY": "fake-aws-90cd12",
    "GOOGLE_APPLICATION_CREDENTIALS": "/fake-gcp-41be.json",
}


def unsafe(source: str) -> Iterator[str]:
    """Names of unsafe modules and calls in a program."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from [node.module] * (node.module.split(".")[0] in UNSAFE_MODULES)
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield from [name] * (name in UNSAFE_CALLS)
            for keyword in node.keywords:
                if keyword.arg in ("shell", "allow_pickle", "trust_remote_code"):
                    yield f"{name}({keyword.arg})"


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_read_can_run_code(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        assert not list(unsafe(path.read_text(encoding="utf-8"))), path


@pytest.mark.parametrize(
    ("program", "reported"),
    [
        ("import pickle", ["pickle"]),
        ("from joblib.numpy_pickle import load", ["joblib.numpy_pickle"]),
        ("yaml.load(text)", ["yaml.load"]),
        ("np.load(path, allow_pickle=True)", ["np.load(allow_pickle)"]),
        ("subprocess.run(text, shell=True)", ["subprocess.run(shell)"]),
        ("yaml.safe_load(text); model.eval(); np.load(path)", []),
    ],
)
def test_unsafe_code_would_be_reported(program: str, reported: list[str]) -> None:
    assert list(unsafe(program)) == reported


def test_secrets_of_the_environment_are_written_nowhere(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = subprocess.run(
        arguments("train", "tiny", *SMALL, "--train.steps", "2", "--run-dir", str(run)),
        cwd=ROOT,
        env={**os.environ, **SECRETS},
        capture_output=True,
        timeout=300,
        check=True,
    )
    files = [path for path in run.rglob("*") if path.is_file()]
    assert len(files) > 10
    for content in [done.stdout, done.stderr, *(path.read_bytes() for path in files)]:
        assert not [secret for secret in SECRETS.values() if secret.encode() in content]
    assert run.stat().st_mode & 0o777 == 0o700


def test_password_in_a_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    # Of no kind that there is, which is wrong, too.
    source = "s3://user:fake-secret@bucket/*.txt"
    words = ["train", "tiny", "--data.sources", source, "--run-dir", str(tmp_path / "run")]
    done = meshloom(*words, expect=2)
    said = done.stdout + done.stderr
    assert "must hold no user name or password" in re.sub(r"[│\s]+", " ", said)
    assert "fake-secret" not in said
    assert not (tmp_path / "run").exists()
