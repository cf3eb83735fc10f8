import os
import shlex
import subprocess
from pathlib import Path

import pytest

from launch.cluster.tpu_vm import TpuVmOptions, launch_tpu_vm
from launch.schema.command_line import parse
from tests.advice import followed, without

AWKWARD = 'text:it\'s $HOME `id` "x" \\ ; & *.txt'
TRAIN = ["train", "tiny", "--data.sources", AWKWARD, "--run-dir", "/mnt/runs/a"]


def test_workers_shell_gets_every_word_as_it_was_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = launch_tpu_vm(TpuVmOptions(name="pod", zone="us-east5-a", project="lab-one"), TRAIN)
    words = shlex.split(capsys.readouterr().out)
    assert code == 0
    assert words[:-1] == [
        *("gcloud", "compute", "tpus", "tpu-vm", "ssh", "pod"),
        *("--zone=us-east5-a", "--project=lab-one", "--worker=all"),
    ]
    program = tmp_path / "meshloom" / ".venv" / "bin" / "meshloom"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\0" "$PWD" "$JAX_PLATFORMS" "$@"\n')
    program.chmod(0o755)
    inner = words[-1].removeprefix("--command=")
    done = subprocess.run(["sh", "-c", inner], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split("\0")[:-1] == [
        *(str(tmp_path / "meshloom"), "tpu,cpu", *TRAIN),
        "--resume-or-start",
    ]


def test_gcloud_is_run_only_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    options = TpuVmOptions(name="pod", zone="us-east5-a", run=True)
    with pytest.raises(ValueError, match="gcloud must be on PATH"):
        launch_tpu_vm(options, TRAIN)
    (tmp_path / "gcloud").write_text('#!/bin/sh\necho "$#" "$4" "$5" "$6"\nexit 76\n')
    (tmp_path / "gcloud").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    assert launch_tpu_vm(options, TRAIN) == 76
    assert capfd.readouterr().out == "8 ssh pod --zone=us-east5-a\n"


@pytest.mark.parametrize("field", ["name", "zone", "project", "checkout"])
@pytest.mark.parametrize("value", ["", "-x", "~/x"])
def test_unfit_name_is_refused(field: str, value: str) -> None:
    with pytest.raises(
        ValueError, match=rf"{field}='{value}' must be .*, because .*; try --{field}"
    ):
        TpuVmOptions(**{"name": "pod", "zone": "us-east5-a", field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--name", value) for value in ("Pod", "9", "a" * 64, "a.b", "a-")),
        *(("--zone", value) for value in ("us", "us-east5", "Us-east5-a", "us-east5-a; id")),
        *(("--project", value) for value in ("lab", "9lab-one", "a" * 31)),
    ],
)
def test_a_name_that_google_cloud_does_not_take_is_refused_with_an_example(
    flag: str, value: str
) -> None:
    def read(words: list[str]) -> TpuVmOptions:
        return parse(TpuVmOptions, words, prog="meshloom launch tpu-vm")

    words = ["--name", "pod", "--zone", "us-central1-ai1a", "--project", "a.org:lab-one"]
    (message,) = followed(read, [*without(words, flag), flag, value])
    assert message.startswith(f"{flag[2:]}={value!r} must be ")


@pytest.mark.parametrize("place", [[], ["--run-dir", "runs/a"]])
def test_run_directory_must_be_the_same_on_all_workers(place: list[str]) -> None:
    with pytest.raises(ValueError, match=r"run_dir=.* must be an absolute path"):
        launch_tpu_vm(TpuVmOptions(name="pod", zone="us-east5-a"), ["train", "tiny", *place])
