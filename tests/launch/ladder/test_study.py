"""Studies: as Python and as YAML, changed over old cells, with cells that cannot be built."""

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from data.shard import SPLITS
from launch.cli import main
from launch.config import RunConfig, leaves, save, to_dict
from launch.ladder.cells import Cell, cells_of, predecessor
from launch.ladder.directory import StudyDirectory, make_study, open_study, write_json
from launch.ladder.results import require_same_text
from launch.ladder.studies import STUDIES, load_study, smoke
from launch.ladder.study import ASIDE, REPLACED, GridRow, Power, Study, from_dict
from launch.schema.structured import structured
from tests.command import meshloom

SHORT = """
base:
  preset: tiny
  tensorboard: false
  sample: 0
  data: {sequence_length: 64}
  train:
    eval_every: 0
    eval_batches: 4
    optimizer: {schedule: wsd, warmup_steps: 10, final_fraction: 0.0}
    checkpoint: {every_steps: null, every_minutes: 1.0, keep_latest: 1}
family: {head_dim: 16, width_per_layer: 16, mlp_ratio: 2.6666666666666665}
learning_rate: {factor: 4.0e-3}
batch_tokens: {factor: 512}
grid:
- {widths: [16, 32], flops: 1.0e+10}
- {widths: [16, 32], flops: 2.0e+10}
"""
"""The study `smoke`, as one would type it."""


def with_changes(values: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Plain values with another one under a name as in `base.train.seed`."""
    values = copy.deepcopy(values)
    part = values
    *path, last = name.split(".")
    for step in path:
        part = part[step]
    part[last] = value
    return values


def study_of(values: dict[str, Any]) -> Study:
    return from_dict(values, "study")


def written(path: Path, values: dict[str, Any]) -> str:
    path.write_text(yaml.safe_dump(values))
    return str(path)


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What `meshloom ladder WORDS` says when it refuses."""
    assert main(["ladder", *words]) == 1
    return capsys.readouterr().err


def test_a_cell_is_named_by_all_that_decides_its_result_and_by_nothing_else() -> None:
    cell = cells_of(smoke())[0]
    named = set()
    for name, _ in leaves(to_dict(cell.config)):
        config = copy.deepcopy(cell.config)
        *path, last = name.split(".")
        part = config
        for step in path:
            part = getattr(part, step)
        object.__setattr__(part, last, "changed")
        if Cell(config, cell.held_out).digest != cell.digest:
            named.add(name)
    assert {"data.seed", "train.steps", "train.optimizer.beta1", "model.mlp_dim"} < named
    aside = {name for name, _ in leaves(to_dict(cell.config))} - named
    assert {"train.log_every", "mesh.fsdp", "train.checkpoint.at_steps", "model.remat"} < aside
    assert {next(a for a in ASIDE if f"{name}.".startswith(f"{a}.")) for name in aside} == {*ASIDE}


def test_yaml_and_python_are_the_same_study(tmp_path: Path) -> None:
    file = tmp_path / "short.yaml"
    file.write_text(SHORT)
    ours = load_study("smoke")
    assert load_study(str(file)) == ours
    directory = make_study(tmp_path / "study", ours)
    assert open_study(directory.path).study == ours
    assert load_study(str(directory.path / "study.yaml")) == ours


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_of_ours_can_be_planned(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ladder", "plan", name, "--no-measure"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert not any(word in "\n".join(lines) for word in ("memory", "hours"))
    cells = cells_of(STUDIES[name]())
    widths = [line.split()[0] for line in lines if line.startswith("w")]
    assert widths == [f"w{cell.width}" for cell in cells]


def test_a_cell_branches_off_the_longest_shorter_cell_that_is_trained_before_it() -> None:
    rows = (1e10, 4e10)
    study = dataclasses.replace(
        smoke(),
        grid=tuple(GridRow(widths=(16, 32), flops=flops) for flops in rows),
        held_out=(
            GridRow(widths=(16,), flops=2e10),
            GridRow(widths=(16,), flops=8e10, seeds=(0, 1)),
        ),
    )
    cells = cells_of(study)
    by_steps = {(c.width, c.config.train.steps, c.seed): c for c in cells}
    before = {
        place: (
            cell_before.config.train.steps if (cell_before := predecessor(cell, cells)) else None
        )
        for place, cell in by_steps.items()
    }
    assert before == {
        (16, 397, 0): None,
        (16, 1589, 0): 397,  # not the held-out one of 795 steps, which is trained later
        (16, 795, 0): 397,
        (16, 3179, 0): 1589,
        (16, 3179, 1): None,
        (32, 87, 0): None,
        (32, 346, 0): 87,
    }
    assert by_steps[16, 397, 0].config.train.checkpoint.at_steps == (317,)
    assert by_steps[16, 3179, 0].config.train.checkpoint.at_steps == ()
    cosine = with_changes(to_dict(study), "base.train.optimizer.schedule", "cosine")
    assert not any(predecessor(c, cells_of(study_of(cosine))) for c in cells_of(study_of(cosine)))


def test_cells_of_other_batches_are_measured_on_as_many_rows() -> None:
    study = dataclasses.replace(smoke(), batch_tokens=Power(factor=64.0, params=0.3))
    rows = {c.width: c.config.train.batch_size for c in cells_of(study)}
    assert rows == {16: 11, 32: 21}
    measured = {c.width: c.config.train.eval_batches for c in cells_of(study)}
    held_out = study.base.train.eval_batches * study.base.train.batch_size
    assert measured == {width: round(held_out / count) for width, count in rows.items()}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("base.train.optimizer.beta1", 0.8, "base.train.optimizer.beta1: was 0.9, now 0.8"),
        ("base.data.held_out", 0.5, "base.data.held_out: was 0.01, now 0.5"),
        ("family.mlp_ratio", 4.0, "family.mlp_ratio: was 2.6666666666666665, now 4.0"),
        ("learning_rate.factor", 0.1, "learning_rate.factor: was 0.004, now 0.1"),
        ("batch_tokens.tokens", 0.1, "batch_tokens.tokens: was 0.0, now 0.1"),
        ("base.train.log_every", 3, ""),
        ("base.mesh.fsdp", 2, ""),
        ("grid", [{"widths": [16, 48], "flops": 1e10}], ""),
        ("held_out", [{"widths": [48], "flops": 8e10}], ""),
    ],
)
def test_only_the_grid_of_a_study_may_change(
    name: str, value: Any, message: str, tmp_path: Path
) -> None:
    make_study(tmp_path, smoke())
    study = study_of(with_changes(to_dict(smoke()), name, value))
    if message:
        with pytest.raises(ValueError, match="cannot be compared") as refused:
            make_study(tmp_path, study)
        assert f"\n  {message}\n" in str(refused.value)
    assert (make_study(tmp_path, smoke() if message else study).path / "study.yaml").is_file()
    assert open_study(tmp_path).study == (smoke() if message else study)


def test_what_each_cell_has_of_its_own_is_what_the_base_may_not_set() -> None:
    study = smoke()
    values = dict(leaves(to_dict(study.base)))
    changed = to_dict(study.base)
    for name in (*(f"model.{name}" for name in study.base.model.width_fields), *REPLACED):
        changed = with_changes(changed, name, 2 * values[name] or 7)
    base = structured(RunConfig, changed, "here", "a run")
    wanted = [cell.digest for cell in cells_of(study)]
    assert [cell.digest for cell in cells_of(dataclasses.replace(study, base=base))] == wanted


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("families", {}, "families in .* must be a field of Study.*try family"),
        ("base.train.optimizer.beta", 0.9, "try base.train.optimizer.beta[12] or"),
        ("base.model.norm", "rms", "base.model.norm='rms' in .*; try rmsnorm"),
        ("base.train.steps", 300, "base.train.steps=300 in .* must be left out"),
        ("base.model.num_layers", 2, "base.model.num_layers=2 in .* must be left out"),
        ("base.train.eval_batches", 0, "base.train.eval_batches=0 must be at least 1"),
        ("family.head_dim", 12, "widths=16 must be a multiple of family.head_dim=12.*try 12"),
        ("grid", [], "grid=.* must hold at least one row"),
        ("grid", [{"widths": [16], "flops": 1e8}], "flops=1e.08 must buy at least 20 steps at wid"),
        ("grid", [{"widths": [16]}], "must give flops or tokens_per_parameter"),
        ("grid", [{"widths": [16], "flops": 1e10}] * 2, "both hold w16-n397-s0-.*leaving width 16"),
        ("held_out", [{"widths": [16, 16], "flops": 1e10}], "and each once"),
        ("held_out", [{"widths": [16], "flops": 1e10}], "same cell twice"),
        ("learning_rate.params", 30.0, r"params=30.0 in .* must be at most 2,.*; try params: 0.0"),
    ],
)
def test_a_study_that_cannot_be_is_refused_by_its_field(
    name: str, value: Any, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = written(tmp_path / "study.yaml", with_changes(to_dict(smoke()), name, value))
    for words in (["plan", study, "--no-measure"], ["run", study, "--dir", str(tmp_path / "s")]):
        said = refusal(capsys, *words)
        assert re.search(message, said, re.DOTALL), said
    assert not (tmp_path / "s").exists()


def test_a_budget_that_is_too_small_names_what_is_enough(tmp_path: Path) -> None:
    values = with_changes(to_dict(smoke()), "grid", [{"widths": [16, 32], "flops": 1e8}])
    with pytest.raises(ValueError, match=r"try flops=[\d.e+]+") as refused:
        cells_of(study_of(values))
    enough = float(str(refused.value).partition("try flops=")[2].partition(",")[0])
    cells_of(study_of(with_changes(values, "grid", [{"widths": [16], "flops": enough}])))


@pytest.mark.parametrize("place", ["file", "below a file", "/proc", "files of others"])
def test_a_directory_that_cannot_be_a_studys_is_refused(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    paths = {"below a file": "file/study", "/proc": "/proc/study", "files of others": "."}
    path = tmp_path / paths.get(place, place)
    said = refusal(capsys, "run", "smoke", "--dir", str(path))
    why = "files of others are never touched" if place == "files of others" else "must be writable"
    assert f"dir={path.absolute()} must" in said and why in said and "try another --dir" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_study_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "must hold a study" in refusal(capsys, "status", str(tmp_path))
    said = refusal(capsys, "plan", str(tmp_path / "nothing.yaml"))
    assert "try smoke or laptop" in said


def test_cells_that_cannot_fit_are_refused(tmp_path: Path) -> None:
    values = with_changes(to_dict(smoke()), "family.width_per_layer", 1e6)
    large = {"widths": [2**17], "flops": 1e20}
    file = written(tmp_path / "large.yaml", with_changes(values, "grid", [large]))
    said = meshloom("ladder", "run", file, "--dir", str(tmp_path / "study"), expect=1).stderr
    assert "width 131072 must fit the devices" in said and "3.3e+12 bytes" in said
    assert not (tmp_path / "study").exists(), "nothing is written"
    planned = meshloom("ladder", "plan", file, expect=1)
    lines = planned.stdout.splitlines()
    assert lines[0].split()[-2:] == ["memory", "hours"] and len(lines[0]) == 80
    assert lines[2].endswith("   3.3T       -") and "nan" not in planned.stdout
    assert "all cells must fit the device" in planned.stderr and "3.3T bytes of" in planned.stderr
    opened: list[Any] = [study_of(values).base.data.open_rows(split) for split in SPLITS]
    train, held_out = opened
    assert f"out of {held_out.num_documents:,} documents;\n{train.num_tokens:,}" in planned.stdout
    assert "measured on 2,048 tokens" in planned.stdout


def test_a_study_knows_its_text_by_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corpus(folder: str, word: str) -> None:
        (tmp_path / folder).mkdir()
        for n in range(40):
            (tmp_path / folder / f"{n}.txt").write_text(f"{n}: {word} " * 200)

    def studied(folder: str) -> StudyDirectory:
        file = tmp_path / "study.yaml"
        save(with_text(f"text:{folder}/*.txt"), file)
        monkeypatch.chdir(tmp_path)
        study = make_study(tmp_path / "study", load_study(str(file)))
        monkeypatch.chdir("/")
        return study

    def with_text(source: str) -> Study:
        smoke = load_study("smoke")
        cache = str(tmp_path / "cache")
        data = dataclasses.replace(smoke.base.data, sources=(source,), cache_dir=cache)
        return dataclasses.replace(smoke, base=dataclasses.replace(smoke.base, data=data))

    corpus("a", "night")
    first = studied("a")
    cell = first.cells[0]
    digest = cell.config.data.open_rows("train").digest
    write_json(first.of(cell) / "result.json", {"data_digest": digest})
    require_same_text(first)
    (tmp_path / "a").rename(tmp_path / "moved")
    second = studied("moved")
    assert [cell.name for cell in second.cells] == [cell.name for cell in first.cells]
    require_same_text(second)
    corpus("b", "storm")
    with pytest.raises(ValueError, match=f"data digest=.* must be {digest[:16]}, because w"):
        require_same_text(studied("b"))
