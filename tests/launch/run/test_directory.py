import json
from contextlib import ExitStack
from pathlib import Path

import pytest

from launch.config import load, to_dict
from launch.presets.preset import preset
from launch.run.directory import find_run_directory, open_run_directory
from launch.run.environment import environment
from launch.run.resume import require_same_run

TINY = preset("tiny")


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


@pytest.fixture
def occupied(tmp_path: Path) -> Path:
    """A directory that contains a run."""
    run = open_run_directory(TINY, path=tmp_path / "occupied")
    run.metrics.write_text('{"step": 1}\n')
    (run.checkpoints / "state").write_bytes(b"weights")
    return run.path


def test_new_runs_never_share_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [open_run_directory(TINY, path=None).path for _ in range(3)]
    assert len(set(runs)) == 3
    assert all(path.parent == tmp_path / "runs" and path.name.startswith("tiny-") for path in runs)


def test_run_directory_holds_config_and_environment(tmp_path: Path) -> None:
    run = open_run_directory(TINY, path=tmp_path / "a" / "b")
    assert load(run.config) == TINY
    (start,) = json.loads(run.environment.read_text())
    assert start["python"].startswith("3.")
    assert {"jax", "flax", "orbax-checkpoint", "grain"} <= start["versions"].keys()
    assert set(start) == set(environment())


def test_environment_holds_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-of-the-user")
    assert "a-secret-of-the-user" not in json.dumps(environment())


def test_directory_with_a_run_is_refused_untouched(occupied: Path) -> None:
    before = contents(occupied)
    with pytest.raises(ValueError, match=r"must not hold a run already.* try --resume"):
        open_run_directory(TINY, path=occupied)
    assert contents(occupied) == before


def test_directory_of_others_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="files of others are never touched"):
            open_run_directory(TINY, path=tmp_path, overwrite=overwrite)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="must be a directory, but is a file"):
        open_run_directory(TINY, path=tmp_path / "file")


def test_overwrite_sets_the_old_run_aside_whole(occupied: Path) -> None:
    before = contents(occupied)
    for number in (1, 2):
        open_run_directory(TINY, path=occupied, overwrite=True)
        assert not (occupied / "metrics.jsonl").exists()
        assert occupied.with_name(f"occupied.old-{number}").is_dir()
    assert contents(occupied.with_name("occupied.old-1")) == before


def test_resume_keeps_everything_and_takes_the_new_config(occupied: Path) -> None:
    before = contents(occupied)
    values = to_dict(TINY)
    values["train"]["steps"] = 999
    from launch.config import from_dict

    open_run_directory(from_dict(values), path=occupied, resume=True)
    after = contents(occupied)
    assert load(occupied / "config.yaml").train.steps == 999
    changed = {name for name in before if before[name] != after[name]}
    assert changed <= {"config.yaml", "environment.json"}


def test_resume_as_another_model_is_refused_untouched(occupied: Path) -> None:
    before = contents(occupied)
    with pytest.raises(ValueError, match=r"model\.num_layers: was"):
        require_same_run(occupied, preset("gpt2-124m"))
    assert contents(occupied) == before


@pytest.mark.parametrize("flag", ["resume", "overwrite"])
def test_flag_without_a_directory_is_refused(
    flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"{flag}=True must come with a run directory"):
        open_run_directory(TINY, path=None, resume=flag == "resume", overwrite=flag == "overwrite")
    assert not list(tmp_path.iterdir())


def test_resume_and_overwrite_exclude_each_other(occupied: Path) -> None:
    with pytest.raises(ValueError, match="must not come with overwrite"):
        open_run_directory(TINY, path=occupied, resume=True, overwrite=True)


def test_resume_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a run directory"):
        require_same_run(tmp_path / "absent", TINY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["deep1/deep2/run", "there/run", None])
def test_a_start_taken_back_leaves_no_folder_it_created(
    name: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    undo = ExitStack()
    path = None if name is None else tmp_path / name
    run = open_run_directory(TINY, path=path, undo=undo)
    run.metrics.touch()
    undo.close()
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]


def test_an_overwrite_taken_back_puts_the_old_run_back(occupied: Path) -> None:
    before = contents(occupied)
    undo = ExitStack()
    open_run_directory(TINY, path=occupied, overwrite=True, undo=undo)
    undo.close()
    assert contents(occupied) == before
    assert [path.name for path in occupied.parent.iterdir()] == ["occupied"]


def test_a_run_or_its_neighbour_is_named(occupied: Path) -> None:
    assert find_run_directory(occupied).path == occupied
    with pytest.raises(ValueError, match=f"try {occupied}"):
        find_run_directory(occupied.with_name("ocupied"))


def test_a_run_without_a_step_says_how_it_is_started_again(tmp_path: Path) -> None:
    """As a kill between its directory and its first step leaves it."""
    path = open_run_directory(TINY, path=tmp_path / "run").path
    with pytest.raises(ValueError, match=r"must not hold a run already.*try --overwrite, as .* no"):
        open_run_directory(TINY, path=path)
    require_same_run(path, preset("gpt2-124m"))
    open_run_directory(preset("gpt2-124m"), path=path, resume=True)
    assert load(path / "config.yaml").preset == "gpt2-124m", "nothing of the other was trained"
