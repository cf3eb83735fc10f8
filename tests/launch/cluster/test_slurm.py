import os
import shlex
import subprocess
from pathlib import Path

import pytest

from launch.cluster.slurm import launch_slurm, launch_workers
from launch.cluster.slurm_options import SlurmOptions
from launch.schema.command_line import UsageError, parse
from tests.advice import followed
from tests.command import SMALL, meshloom, records

AWKWARD = 'text:it\'s $HOME `id` "x" \\ ; & *.txt'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *words: str, **options: object) -> str:
    """The script of `train tiny WORDS`."""
    launch_slurm(SlurmOptions(dry_run=True, **options), ["train", "tiny", *words])  # type: ignore[arg-type]
    return capsys.readouterr().out


def head(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH --") for line in script.splitlines() if "#SBATCH" in line]


def train_words(script: str, **variables: str) -> list[str]:
    """What bash makes of the lines that set `train`."""
    lines = script.split("# USR1 comes")[0] + 'printf "%s\\0" "${train[@]}"'
    environment = {**os.environ, **variables}
    done = subprocess.run(
        ["bash", "-euc", lines], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\0")[:-1]


def test_head_holds_what_was_asked(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = shown(
        capsys,
        *("--run-dir", "runs/a"),
        nodes=4,
        min_nodes=2,
        gpus_per_node=8,
        cpus_per_task=6,
        partition="gpu",
        account="lab",
        time="1-00:00:00",
        grace=300,
    )
    assert head(script) == [
        "job-name=a",
        "nodes=2-4",
        "ntasks-per-node=8",
        "gpus-per-node=8",
        "cpus-per-task=6",
        "partition=gpu",
        "account=lab",
        "time=1-00:00:00",
        f"chdir={here}",
        f"output={here}/runs/a/logs/slurm-%j.out",
        "open-mode=append",
        "requeue",
        "signal=B:USR1@300",
    ]
    assert " --cpus-per-task=6 " in script.split("\nsrun", 1)[1]
    assert "\nexport SLURM_EXIT_ERROR=71\n" in script.split("\nsrun", 1)[0]
    assert not (here / "runs").exists(), "a dry run writes nothing"


def test_shell_gets_every_word_as_it_was_typed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = shown(capsys, "--data.sources", AWKWARD, "--run-dir=runs/a")
    words = train_words(script)
    assert words[1:] == [
        *("-m", "launch", "train", "tiny", "--data.sources", AWKWARD),
        *("--run-dir", f"{here}/runs/a", "--resume-or-start"),
    ]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_array_has_a_run_for_each_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "sizes.txt").write_text(
        f"--model.num-layers 2\n\n# wider\n--data.sources {shlex.quote(AWKWARD)}\n"
    )
    script = shown(capsys, "--run-dir", "ladder", array=Path("sizes.txt"))
    assert {"array=0-1", f"output={here}/ladder/%a/logs/slurm-%A.out"} <= set(head(script))
    more = [["--model.num-layers", "2"], ["--data.sources", AWKWARD]]
    for index, flags in enumerate(more):
        words = train_words(script, SLURM_ARRAY_TASK_ID=str(index))
        place = ["--run-dir", f"{here}/ladder/{index}", "--resume-or-start"]
        assert words[3:] == ["train", "tiny", *flags, *place]


@pytest.mark.parametrize("lines", ["", "# nothing\n", "--model.num-layers '2\n"])
def test_array_that_names_no_run_is_refused(lines: str, here: Path) -> None:
    (here / "sizes.txt").write_text(lines)
    with pytest.raises(ValueError, match=r"array=sizes.txt must .*; try lines"):
        launch_slurm(SlurmOptions(array=Path("sizes.txt")), ["train", "tiny"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("min_nodes", 2),
        ("partition", "a b"),
        ("account", "x\n#SBATCH --uid=0"),
        *(("time", value) for value in ("2", "1:59", "0:02:00", "0-0:02", "\u0661")),
        ("partition", "gpü"),
        *(("time", value) for value in ("soon", "1:2:3:4", "-1", "12:0", "")),
    ],
)
def test_unfit_flag_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=rf"(?s)^{field}=.* must .*, because .*; try "):
        SlurmOptions(**{field: value})  # type: ignore[arg-type]


def test_gpus_that_no_task_would_use_are_refused() -> None:
    for tasks in (2, 16):
        with pytest.raises(ValueError, match=r"must be 1 or gpus_per_node=8, .*per-node 8"):
            SlurmOptions(tasks_per_node=tasks, gpus_per_node=8)
    assert [SlurmOptions(tasks_per_node=n, gpus_per_node=8).tasks for n in (1, 8)] == [1, 8]


@pytest.mark.parametrize(
    "words",
    ["--min-nodes 2", "--tasks-per-node 2 --gpus-per-node 8", "--time soon", "--time 1 --grace 60"],
)
def test_what_a_refusal_of_slurm_advises_is_taken(words: str) -> None:
    def read(words: list[str]) -> SlurmOptions:
        return parse(SlurmOptions, words, prog="meshloom launch slurm")

    assert len(followed(read, words.split())) == 1


@pytest.mark.parametrize("time", "30 30:00 12:00:00 2-0 2-12:30 2-12:30:15 3 2:01 0".split())
def test_times_of_slurm_are_taken(time: str) -> None:
    assert SlurmOptions(time=time).time == time


@pytest.mark.parametrize("path", ["a b", "a%j", "a'b", 'a"b'])
def test_run_directory_that_slurm_would_misread_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"run_dir=.* must be of letters"):
        launch_slurm(SlurmOptions(dry_run=True), ["train", "tiny", "--run-dir", path])


def test_what_cannot_be_restarted_is_refused(here: Path) -> None:
    def launch(*words: str) -> None:
        launch_slurm(SlurmOptions(dry_run=True), list(words))

    with pytest.raises(UsageError, match="needs `train`"):
        launch("evaluate", "runs/a")
    with pytest.raises(UsageError, match="needs `train`"):
        launch()
    with pytest.raises(UsageError, match="tinyy"):
        launch("train", "tinyy")
    with pytest.raises(ValueError, match="overwrite=True must be left out"):
        launch("train", "tiny", "--run-dir", "a", "--overwrite")
    (here / "a").mkdir()
    (here / "a" / "config.yaml").touch()
    with pytest.raises(ValueError, match=r"run_dir=.*/a must not hold a run already"):
        launch("train", "tiny", "--run-dir", "a")
    with pytest.raises(ValueError, match=r"config=.*/a/config.yaml must hold a mapping"):
        launch("train", "tiny", "--run-dir", "a", "--resume-or-start")
    with pytest.raises(ValueError, match=r"run_dir=.*/b must hold a run"):
        launch("train", "tiny", "--run-dir", "b", "--resume")
    with pytest.raises(ValueError, match="resume=True must come with a run directory"):
        launch("train", "tiny", "--resume")


def test_missing_sbatch_is_said_before_anything_is_written(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(here))
    study = ["ladder", "run", "smoke", "--dir", "studies/a"]
    for submit, options, words in (
        (launch_slurm, SlurmOptions(), ["train", "tiny"]),
        (launch_workers, SlurmOptions(workers=2), study),
    ):
        with pytest.raises(ValueError, match="sbatch must be on PATH"):
            submit(options, words)
        assert list(here.iterdir()) == []


@pytest.mark.parametrize("words", [["train", "tiny"], ["train", "tiny", "--run-dir", "a/b"]])
def test_a_job_that_slurm_refuses_leaves_nothing_and_its_correction_is_taken(
    words: list[str],
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = here / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\ngrep -q partition=none "$2" && { echo no such partition >&2; exit 1; }\n'
        "echo 7\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (here / "runs").mkdir()

    def files() -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.is_file() else None for path in here.rglob("*")}

    before = files()
    for _ in range(2):
        with pytest.raises(ValueError, match=r"(?s)sbatch must .*no such partition.*try "):
            launch_slurm(SlurmOptions(partition="none"), words)
        assert files() == before
        launch_slurm(SlurmOptions(partition="gpu"), words)
        assert "job      7 (" in capsys.readouterr().out
        before = files()


def test_what_is_refused_is_refused_without_sbatch_too(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests of this file run where there is no Slurm."""
    monkeypatch.setenv("PATH", str(here))
    (here / "sizes.txt").write_text("")
    with pytest.raises(ValueError, match=r"array=sizes.txt must "):
        launch_slurm(SlurmOptions(array=Path("sizes.txt")), ["train", "tiny"])
    with pytest.raises(ValueError, match="workers=None must be given"):
        launch_workers(SlurmOptions(), ["ladder", "run", "smoke", "--dir", "a"])


def test_resume_or_start_starts_and_then_resumes(here: Path) -> None:
    (here / "run" / "logs").mkdir(parents=True)
    (here / "run" / "job.sbatch").touch()
    (here / "run" / "config.yaml.1f2e3d4c.tmp").touch()
    words = ["train", "tiny", *SMALL, "--train.eval-batches", "0", "--resume-or-start"]
    words += ["--run-dir", str(here / "run"), "--train.steps"]
    assert "resuming" not in meshloom(*words, "2").stdout
    assert "resuming from step 2" in meshloom(*words, "4").stdout
    assert [record["step"] for record in records(here / "run")] == [1, 2, 3, 4]


@pytest.mark.parametrize("words", [[], ["--run-dir", "a", "--overwrite"]])
def test_resume_or_start_needs_a_run_directory_to_keep(words: list[str]) -> None:
    done = meshloom("train", "tiny", "--resume-or-start", *words, expect=2)
    assert "resume_or_start=True must come with --run-dir" in " ".join(done.stderr.split())


def test_workers_of_a_study_are_the_tasks_of_an_array(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["ladder", "run", "smoke", "--dir", "studies/a b"]
    with pytest.raises(ValueError, match=r"run_dir=.* must be of letters"):
        launch_workers(SlurmOptions(dry_run=True, workers=3), words)
    words[-1] = "studies/a"
    launch_workers(SlurmOptions(dry_run=True, workers=3, gpus_per_node=1), [*words, "--held-out"])
    script = capsys.readouterr().out
    assert head(script)[:5] == [
        "job-name=a",
        "array=0-2",
        "nodes=1",
        "ntasks-per-node=1",
        "gpus-per-node=1",
    ]
    assert f"output={here}/studies/a/logs/slurm-%A_%a.out" in head(script)
    assert train_words(script)[1:] == ["-m", "launch", *words, "--held-out"]
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    assert not (here / "studies").exists(), "a dry run writes nothing"


@pytest.mark.parametrize(
    ("options", "words", "message"),
    [
        ({"workers": 2}, "train tiny", "needs `ladder run STUDY --dir DIR`"),
        ({"workers": 2}, "ladder run smoke", "needs `ladder run STUDY --dir DIR`"),
        ({}, "ladder run smoke --dir a", "workers=None must be given"),
        ({"workers": 2, "nodes": 2}, "ladder run smoke --dir a", "try without --nodes"),
        ({"workers": 2}, "ladder run none.yaml --dir a", "must be a readable YAML file"),
    ],
)
def test_workers_that_cannot_be_are_refused(
    options: dict[str, int], words: str, message: str
) -> None:
    with pytest.raises((ValueError, UsageError), match=message):
        launch_workers(SlurmOptions(dry_run=True, **options), words.split())  # type: ignore[arg-type]
