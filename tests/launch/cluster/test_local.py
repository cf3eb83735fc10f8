import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from launch.cluster import local, supervisor
from launch.schema.command_line import parse
from tests.advice import followed
from tests.command import ROOT, SMALL, arguments, meshloom, records
from tests.programs import gone


def run(program: str, processes: int = 3, devices: int = 2) -> int:
    options = local.LocalOptions(processes=processes, devices_per_process=devices)
    return local.run_local([sys.executable, "-c", program], options)


def test_every_process_gets_its_place_and_its_own_prefix(
    capfd: pytest.CaptureFixture[str],
) -> None:
    program = """
import os
e = os.environ
print(e["JAX_PROCESS_ID"], e["JAX_NUM_PROCESSES"], e["JAX_NUM_CPU_DEVICES"], e["JAX_PLATFORMS"])
"""
    assert run(program) == 0
    lines = sorted(capfd.readouterr().out.splitlines())
    assert lines == ["0 3 2 cpu", "[1] 1 3 2 cpu", "[2] 2 3 2 cpu"]


def test_children_import_our_checkout_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    assert run("import launch; print(launch.__file__)", processes=1) == 0
    assert capfd.readouterr().out.strip() == str(ROOT / "launch" / "__init__.py")


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ("sys.exit(7)", 7),
        ("raise OSError('full')", 1),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137),
    ],
)
def test_first_failure_ends_the_job_with_its_code(
    end: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "GRACE", 0.2)
    monkeypatch.setenv("PIDS", str(tmp_path))
    program = f"""
import os, pathlib, signal, sys, threading
rank = os.environ["JAX_PROCESS_ID"]
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
fifo = os.path.join(os.environ["PIDS"], "ready")
if rank == "1":
    with open(fifo, "r+b", buffering=0) as ready:
        ready.read(1), ready.read(1)
    {end}
pathlib.Path(os.environ["PIDS"], rank).write_text(str(os.getpid()))
with open(fifo, "wb") as ready:
    ready.write(b"x")
threading.Event().wait()
"""
    os.mkfifo(tmp_path / "ready")
    assert run(program) == code
    assert gone(int((tmp_path / "0").read_text()))
    assert gone(int((tmp_path / "2").read_text()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_reaches_every_process(number: signal.Signals, tmp_path: Path) -> None:
    child = f"""
import os, signal, sys, threading
def heard(number, frame):
    os.write(1, b"heard %d\\n" % number)
    os._exit(0)
signal.signal({number.value}, heard)
os.write(1, b"ready\\n")
threading.Event().wait()
"""
    launcher = f"""
import sys
from launch.cluster.local import LocalOptions, run_local
print("code", run_local([sys.executable, "-c", {child!r}], LocalOptions()))
"""
    with subprocess.Popen(
        [sys.executable, "-c", launcher],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        seen = {process.stdout.readline().strip() for _ in range(2)}
        process.send_signal(number)
        rest = process.stdout.read().splitlines()
    assert seen == {"ready", "[1] ready"}
    assert sorted(rest) == sorted([f"heard {number.value}", f"[1] heard {number.value}", "code 0"])


OFTEN_SAVED = "--train.eval-batches 0 --train.checkpoint.every-steps 5".split()
TRAIN = ["train", "tiny", *SMALL, *OFTEN_SAVED]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.long
def test_training_continues_bit_for_bit_after_a_process_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then in one process, as if it had never had two."""
    straight, killed, said = tmp_path / "straight", tmp_path / "killed", ""
    train = [*TRAIN, "--train.steps", "14", "--run-dir", str(killed)]
    with subprocess.Popen(
        arguments("launch", "local", "--processes", "2", *train),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(" 8/14") and "attempt 2" not in said:
                os.kill(children(process.pid)[1], signal.SIGKILL)
            said += line
    assert process.returncode == 0, said
    again = [line for line in said.splitlines() if "attempt 2" in line]
    assert len(again) == 1 and again[0].startswith("process 1 was killed by SIGKILL"), said
    assert "Traceback" not in said
    command = "python -m launch launch local --processes 2 --devices-per-process 1 train --run-dir"
    assert f"to continue: {command} {killed} --resume --train.steps 28\n" in said
    logs = sorted(path.name[15:] for path in (killed / "logs").iterdir())
    assert logs == [f"-attempt-{a}-process-{p}.log" for a in (1, 2) for p in (0, 1)]

    meshloom("train", "--run-dir", str(killed), "--resume", "--train.steps", "20")
    monkeypatch.setenv("JAX_NUM_CPU_DEVICES", "2")
    meshloom(*TRAIN, "--train.steps", "20", "--run-dir", str(straight))
    losses, expected = ([(r["step"], r["loss"]) for r in records(r)] for r in (killed, straight))
    # Two summands have one sum in any order, so two devices of one process are bit-equal too.
    assert losses[:14] == expected[:14]
    np.testing.assert_allclose(losses, expected, rtol=2e-6)


def places(options: local.LocalOptions) -> list[dict[str, str | None]]:
    """What each process's environment says of its devices."""
    here = local.LocalPlaces(options)
    names = ("CUDA_VISIBLE_DEVICES", "JAX_PLATFORMS")
    return [
        {name: here._environment("127.0.0.1:1", index).get(name) for name in names}
        for index in range(len(here))
    ]


@pytest.mark.parametrize(
    ("options", "shares"),
    [
        (local.LocalOptions(gpus="0,1,5"), ["0", "1", "5"]),
        (local.LocalOptions(gpus="0,1,2,3", processes=2), ["0,1", "2,3"]),
    ],
)
def test_gpus_are_shared_out_and_never_replaced_by_the_cpu(
    options: local.LocalOptions, shares: list[str]
) -> None:
    expected = [{"CUDA_VISIBLE_DEVICES": s, "JAX_PLATFORMS": "cuda,cpu"} for s in shares]
    assert places(options) == expected


def test_the_gpus_of_a_lost_process_are_left_alone() -> None:
    here = local.LocalPlaces(local.LocalOptions(gpus="0,1,2,3,4,5,6,7", processes=4))
    here.keep(2, without=1)
    assert here.launcher()[-4:] == ["--processes", "2", "--gpus", "0,1,4,5"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"gpus": "0,0"}, "gpus=0,0 must name each GPU once"),
        ({"gpus": "0,1,2", "processes": 2}, "must be a multiple of processes=2"),
        ({"gpus": "0,1", "devices_per_process": 2}, "must not come with gpus=0,1"),
        ({"restarts": -1}, "restarts=-1 must be at least 0"),
        ({"processes": 2, "min_processes": 3}, "must be at most processes=2"),
    ],
)
def test_options_that_contradict_are_refused(fields: dict, words: str) -> None:
    typed = [f"--{name.replace('_', '-')} {value}".split() for name, value in fields.items()]

    def read(words: list[str]) -> local.LocalOptions:
        return parse(local.LocalOptions, words, prog="meshloom launch local")

    (message,) = followed(read, list(itertools.chain(*typed)))
    assert words in message
