import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import pytest
from annotated_types import Interval
from hypothesis import given
from hypothesis import strategies as st

from data.config import DataKind
from launch.config import (
    DistributedConfig,
    MeshConfig,
    RunConfig,
    from_dict,
    load,
    require_resumable,
    resume_differences,
    save,
    to_dict,
)
from launch.presets.preset import PRESETS, preset


def changed(config: RunConfig, fields: Mapping[str, object]) -> RunConfig:
    """The config with other values for dotted fields."""

    def replaced(inner: Any, names: list[str], value: object) -> Any:
        if len(names) > 1:
            value = replaced(getattr(inner, names[0]), names[1:], value)
        return dataclasses.replace(inner, **{names[0]: value})

    for name, value in fields.items():
        config = replaced(config, name.split("."), value)
    return config


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_yaml(name: str, tmp_path: Path) -> None:
    save(preset(name), tmp_path / "config.yaml")
    assert load(tmp_path / "config.yaml") == preset(name)


@pytest.mark.parametrize("name", PRESETS)
def test_dict_is_what_json_gives_back(name: str) -> None:
    values = to_dict(preset(name))
    assert json.loads(json.dumps(values)) == values
    assert resume_differences(values, preset(name)) == []


@given(
    learning_rate=st.floats(min_value=1e-30, max_value=1e3),
    clip_norm=st.none() | st.floats(min_value=1e-12, max_value=1e12),
    weights=st.just(()) | st.tuples(st.floats(min_value=1e-6, max_value=1e6)),
    profile=st.none() | st.tuples(st.integers(0, 50), st.integers(51, 10**9)),
    coordinator=st.none() | st.text(),
    replica=st.integers(-1, 10**6),
)
def test_any_values_survive_yaml(
    tmp_path_factory: pytest.TempPathFactory,
    learning_rate: float,
    clip_norm: float | None,
    weights: tuple[float, ...],
    profile: tuple[int, int] | None,
    coordinator: str | None,
    replica: int,
) -> None:
    config = changed(
        preset("tiny"),
        {
            "train.optimizer.learning_rate": learning_rate,
            "train.optimizer.clip_norm": clip_norm,
            "data.weights": weights,
            "profile": profile,
            "distributed.coordinator": coordinator,
            "mesh.replica": replica,
        },
    )
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    save(config, path)
    assert load(path) == config


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("model.num_layres", 3, "model.num_layres .* try model.num_layers"),
        ("train.optimizer.learning_rat", 1.0, "train.optimizer.learning_rate"),
        ("train.steps", 1.5, "1.5 must be of type int .*train.steps"),
        ("train.steps", True, "True must be of type int"),
        ("train.steps", "many", "'many' must be of type int"),
        (
            "train.bad_numbers.non_finite",
            "skipp",
            r"^train\.bad_numbers\.non_finite='skipp' in config must be one of stop, skip, "
            "rollback, because .*; try skip$",
        ),
        ("model.activation", "gelo", "must be one of gelu, .*; try gelu$"),
        ("train.bad_numbers.spikes", False, "YAML reads off, .*; try 'off' in quotes"),
        ("model.norm", None, "model.norm=None in config must be one of layernorm, rmsnorm"),
        ("wandb", False, "False must be of type str, because YAML reads off, .*; try quotes"),
        ("data.tokenizer", 3, "3 must be of type str"),
        ("model.num_kv_heads", 3, "model.num_kv_heads=3 must divide"),
    ],
)
def test_unfit_yaml_is_refused_by_name(field: str, value: object, words: str) -> None:
    values = to_dict(preset("tiny"))
    *parents, name = field.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    with pytest.raises(ValueError, match=words):
        from_dict(values)


def test_missing_field_is_named() -> None:
    values = to_dict(preset("tiny"))
    del values["train"]["steps"]
    with pytest.raises(ValueError, match="field 'steps' must be given"):
        from_dict(values)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "must be a readable YAML file"),
        (b"a: [", "must be a readable YAML file"),
        (b"- 1", "must hold a mapping"),
        (b"", "must hold a mapping"),
        (b"!!python/object/apply:os.getcwd []", "must be a readable YAML file"),
    ],
)
def test_file_that_is_no_config_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.yaml must be a readable"):
        load(tmp_path / "absent.yaml")


def test_save_leaves_the_old_file_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.yaml"
    save(preset("tiny"), path)
    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(os, "fsync", lambda _: os.stat(tmp_path / "gone"))
        save(preset("gpt2-124m"), path)
    assert load(path) == preset("tiny")


def test_free_fields_may_differ_on_resume() -> None:
    new = changed(
        preset("tiny"),
        {
            "mesh": MeshConfig(fsdp=2, tensor=4),
            "distributed": DistributedConfig(start="none"),
            "train.checkpoint.keep_latest": 9,
            "train.batch_size": 32,
            "train.steps": 10_000,
            "data.cache_dir": "/elsewhere",
            "wandb": "project",
        },
    )
    assert resume_differences(to_dict(preset("tiny")), new) == []
    require_resumable(to_dict(preset("tiny")), new)


def test_other_fields_must_match_on_resume() -> None:
    new = changed(
        preset("tiny"),
        {"model.num_layers": 5, "train.optimizer.learning_rate": 1.0, "data.seed": 3},
    )
    assert resume_differences(to_dict(preset("tiny")), new) == [
        "data.seed: was 0, now 3",
        "model.num_layers: was 4, now 5",
        "train.optimizer.learning_rate: was 0.003, now 1.0",
    ]
    with pytest.raises(
        ValueError, match=r"(?s)model\.num_layers: was 4, now 5.*try --resume without a preset"
    ):
        require_resumable(to_dict(preset("tiny")), new)


def test_field_younger_than_the_old_run_had_its_default_there() -> None:
    old = to_dict(preset("tiny"))
    for name in ("parametrization", "base_width", "base_head_dim", "depth_scaling", "base_depth"):
        del old["model"][name]
    del old["data"]["weights"]
    assert resume_differences(old, preset("tiny")) == []
    new = changed(preset("tiny"), {"model.window": 8})
    del old["model"]["window"]
    assert resume_differences(old, new) == ["model.window: was None, now 8"]


def test_field_without_a_default_must_be_in_the_old_run() -> None:
    old = to_dict(preset("tiny"))
    del old["model"]["num_layers"]
    assert resume_differences(old, preset("tiny")) == ["model.num_layers: was absent, now 4"]


def test_field_that_there_is_no_longer_differs() -> None:
    old = to_dict(preset("tiny"))
    old["model"]["colour"] = "red"
    assert resume_differences(old, preset("tiny")) == ["model.colour: was red, now absent"]


@pytest.mark.parametrize("profile", [(3, 3), (5, 2)])
def test_profile_window_must_run_forward(profile: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"profile={profile[0]} {profile[1]} must be two steps"):
        changed(preset("tiny"), {"profile": profile})


def test_config_reads_what_another_program_wrote(tmp_path: Path) -> None:
    config: RunConfig = preset("tiny")
    path = tmp_path / "config.yaml"
    save(config, path)
    path.write_text(path.read_text().replace("learning_rate: 0.003", "learning_rate: 1"))
    assert load(path).train.optimizer.learning_rate == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": "tiny"},
            r"model='tiny' in file must be a mapping of fields.*try model: \{kind",
        ),
        (
            {"data": {"sources": "stdlib"}},
            r"data.sources='stdlib' in file must be a list.*\[stdlib",
        ),
        ({"train": {"z_loss": "1e-4"}}, r"YAML reads 1e-4 as text; try 1\.0e-04"),
    ],
)
def test_values_of_another_shape_are_refused(changes: dict[str, Any], message: str) -> None:
    values = to_dict(preset("tiny"))
    for name, value in changes.items():
        values[name] = {**values[name], **value} if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=message):
        from_dict(values, "file")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Elsewhere(DataKind):
    """Data of a kind that this repository does not know."""

    count: Annotated[int, Interval(ge=1, le=9)] = 3
    sequence_length: int = 8
    shade: str = dataclasses.field(default="red", metadata={"resume": "free"})

    def open_rows(self, split: str, *, report: object = None) -> Any: ...

    def batch_shapes(self, batch_size: int) -> Any: ...


def test_data_of_a_kind_from_elsewhere_are_read_and_compared_by_their_own_fields() -> None:
    run = dataclasses.replace(preset("tiny"), data=Elsewhere())
    values = to_dict(run)
    assert to_dict(from_dict(values, like=run)) == values
    with pytest.raises(ValueError, match=r"data\.count=10 .* must be at most 9"):
        from_dict({**values, "data": {**values["data"], "count": 10}}, like=run)
    with pytest.raises(ValueError, match=r"data\.count in config must be a field of DataConfig"):
        from_dict(values)
    other = dataclasses.replace(run, data=Elsewhere(count=4, shade="blue"))
    assert resume_differences(values, other) == ["data.count: was 3, now 4"]
    # A field that is younger than the old run had its default.
    old = {**values, "data": {"sequence_length": 8, "shade": "red"}}
    assert resume_differences(old, run) == []
