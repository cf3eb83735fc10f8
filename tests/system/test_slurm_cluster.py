"""Jobs of `meshloom launch slurm` on a real Slurm: trained, requeued, stopped, ended, given up."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import slurm_cluster
from tests.command import ROOT, SMALL, arguments, meshloom, records
from tests.slurm_cluster import NODES, Cluster

pytestmark = pytest.mark.slurm

STEPS = 100
TRAIN = ["train", "tiny", *SMALL, "--train.steps", str(STEPS)]
TRAIN += ["--train.checkpoint.every-steps", "10", "--train.eval-batches", "0"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    absent = slurm_cluster.missing()
    assert not absent, f"{absent} are not installed: apt-get install slurmctld slurmd munge"
    assert os.geteuid() == 0, "munged and slurmd need root"
    with slurm_cluster.running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    job = submit(cluster, "--nodes", "2", *TRAIN, "--run-dir", str(run))
    ended = cluster.wait(job, "COMPLETED", "FAILED", seconds=120)
    assert ended["JobState"] == "COMPLETED", log_of(run)
    return run


def submit(cluster: Cluster, *words: str) -> str:
    """`meshloom launch slurm WORDS`; the number of the job."""
    shown = cluster.run(*arguments("launch", "slurm", *words), cwd=ROOT)
    match = re.match(r"job +(\d+) ", shown)
    assert match is not None, shown
    return match[1]


def submit_stub(cluster: Cluster, run: Path, stub: str, *flags: str, srun: str = "srun") -> str:
    """A job with our script in which `bash -c STUB` stands for the training, begun by `srun`."""
    words = [*flags, "--dry-run", "train", "tiny", "--run-dir", str(run)]
    shown = cluster.run(*arguments("launch", "slurm", *words), cwd=ROOT)
    script, count = re.subn(r"(?m)^train=.*$", lambda _: f"train=(bash -c '{stub}')", shown)
    assert (count, script.count("\nsrun ")) == (1, 1)
    script = script.replace("\nsrun ", f"\n{srun} ")
    (run / "logs").mkdir(parents=True)
    (run / "job.sbatch").write_text(script)
    return cluster.run("sbatch", "--parsable", str(run / "job.sbatch")).strip()


def losses(run: Path) -> dict[int, float]:
    """Loss of every step; one that was made twice must have come out the same."""
    match: dict[int, float] = {}
    for record in records(run):
        assert match.setdefault(record["step"], record["loss"]) == record["loss"]
    return match


def log_of(run: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((run / "logs").glob("*.out")))


def until(holds: Callable[[], object], run: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, log_of(run)
        time.sleep(0.05)


def trained_until(step: int, run: Path) -> Callable[[], bool]:
    def holds() -> bool:
        metrics = run / "metrics.jsonl"
        lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
        return any(json.loads(line)["step"] >= step for line in lines if line.endswith("\n"))

    return holds


def test_two_tasks_train_as_a_single_process_does(undisturbed: Path, tmp_path: Path) -> None:
    assert "2 processes" in log_of(undisturbed)
    meshloom(*TRAIN, "--run-dir", str(tmp_path))
    alone, together = losses(tmp_path), losses(undisturbed)
    assert sorted(together) == list(range(1, STEPS + 1))
    assert together == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(
    "disturb",
    [["scontrol", "requeue"], ["scancel", "--batch", "--signal=USR1"]],
    ids=lambda w: w[0],
)
def test_disturbed_job_comes_back_and_is_bit_equal(
    disturb: list[str], cluster: Cluster, undisturbed: Path, tmp_path: Path
) -> None:
    job = submit(cluster, "--nodes", "2", *TRAIN, "--run-dir", str(tmp_path))
    until(trained_until(11, tmp_path), tmp_path)
    cluster.run(*disturb, job)
    ended = cluster.wait(job, "COMPLETED", "FAILED", "CANCELLED", restarts=1, seconds=120)
    assert ended["JobState"] == "COMPLETED", log_of(tmp_path)
    assert "resuming from step " in log_of(tmp_path)
    asked = "requeued after code 75, at checkpoint " in log_of(tmp_path)
    assert asked == (disturb[0] == "scancel"), "scontrol requeues by itself"
    assert losses(tmp_path) == losses(undisturbed)


def test_refused_training_ends_the_job(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = submit(cluster, "--nodes", "2", *TRAIN, "--mesh.fsdp", "3", "--run-dir", str(run))
    ended = cluster.wait(job, "COMPLETED", "FAILED")
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("FAILED", "1:0", "0")
    assert "mesh" in log_of(run)


def test_job_that_makes_no_progress_ends(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = submit_stub(cluster, run, "exit 70")
    ended = cluster.wait(job, "FAILED", restarts=2)
    assert ended["ExitCode"] == "70:0"
    assert log_of(run).count("requeued after code 70, at checkpoint none") == 2
    assert "given up with code 70: 3 tries ended at the same checkpoint (none)" in log_of(run)


def test_job_whose_srun_fails_by_itself_is_tried_again(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    fails_once = f"srun $(mkdir {run}/tried 2>/dev/null && echo --nodelist=nowhere)"
    job = submit_stub(cluster, run, "exit 0", srun=fails_once)
    until(lambda: "srun: error" in log_of(run), run)
    ended = cluster.wait(job, "COMPLETED", "FAILED")
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log_of(run)
    assert "requeued after code 71, at checkpoint none" in log_of(run)


def test_job_that_makes_progress_continues(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stub = f"n=$(ls {run}/checkpoints | wc -l); mkdir {run}/checkpoints/$((n + 1)); "
    stub += "[ $n = 3 ] || exit 76"
    (run / "checkpoints").mkdir(parents=True)
    job = submit_stub(cluster, run, stub)
    ended = cluster.wait(job, "COMPLETED", "FAILED", restarts=3)
    assert ended["JobState"] == "COMPLETED", log_of(run)


def test_cancelled_job_stays_cancelled(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stub = f'trap "exit 75" TERM; touch {run}/up; while :; do sleep 0.1; done'
    job = submit_stub(cluster, run, stub)
    until((run / "up").exists, run)
    cluster.run("scancel", job)
    until(lambda: "ended by Slurm with code 75" in log_of(run), run)
    ended = cluster.wait(job, "CANCELLED")
    assert ended["Restarts"] == "0"


def test_job_continues_with_the_nodes_that_are_there(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cluster.run("scontrol", "update", f"nodename={NODES[1]}", "state=down", "reason=test")
    try:
        stub = "echo tasks $SLURM_NTASKS"
        job = submit_stub(cluster, run, stub, "--nodes", "2", "--min-nodes", "1")
        assert cluster.wait(job, "COMPLETED", "FAILED")["NodeList"] == NODES[0]
        assert "0: tasks 1" in log_of(run)
    finally:
        cluster.run("scontrol", "update", f"nodename={NODES[1]}", "state=resume")


def test_each_task_takes_a_gpu_of_its_node(cluster: Cluster, tmp_path: Path) -> None:
    program = "import os; from launch.config import DistributedConfig; "
    program += "from launch.process.distributed import detect; "
    program += "print(detect(DistributedConfig(), os.environ))"
    stub = f'{arguments()[0]} -c "{program}"'
    run = tmp_path / "run"
    job = submit_stub(cluster, run, stub, "--nodes", "2", "--gpus-per-node", "2")
    assert cluster.wait(job, "COMPLETED", "FAILED")["JobState"] == "COMPLETED", log_of(run)
    for task in range(4):
        place = (
            rf"{task}: Membership\(start='slurm', coordinator='{NODES[0]}:\d+', num_processes=4, "
        )
        assert re.search(place + rf"process_id={task}, local_devices=\[{task % 2}\]", log_of(run))


def test_array_trains_a_run_for_each_line(cluster: Cluster, tmp_path: Path) -> None:
    lines = tmp_path / "sizes.txt"
    lines.write_text("--train.steps 2\n--train.steps 3  # longer\n")
    base = tmp_path / "ladder"
    job = submit(cluster, "--array", str(lines), *TRAIN, "--run-dir", str(base))
    for index, steps in enumerate((2, 3)):
        until((base / str(index) / "metrics.jsonl").exists, base / str(index))
        ended = cluster.wait(f"{job}_{index}", "COMPLETED", "FAILED")
        assert ended["JobState"] == "COMPLETED", log_of(base / str(index))
        assert sorted(losses(base / str(index))) == list(range(1, steps + 1))


def test_workers_train_a_study_over_their_time_limits(cluster: Cluster, tmp_path: Path) -> None:
    study = tmp_path / "study"
    job = submit(cluster, "--workers", "2", "ladder", "run", "smoke", "--dir", str(study))
    until(lambda: any(study.glob("cells/*/runs/*/metrics.jsonl")), study)
    cluster.run("scancel", "--batch", "--signal=USR1", f"{job}_0")
    for task in range(2):
        ended = cluster.wait(
            f"{job}_{task}", "COMPLETED", "FAILED", restarts=int(task == 0), seconds=180
        )
        assert ended["JobState"] == "COMPLETED", log_of(study)
    assert "0: stopped; the same command continues" in log_of(study)
    assert "requeued after code 75" in log_of(study)
    assert log_of(study).count("4 of 4 cells are done") == 2
    assert len(list(study.glob("cells/*/result.json"))) == 4
