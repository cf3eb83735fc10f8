"""A run is opened in one place: as itself, from wherever its text and tokenizer lie, and also while
it goes on."""

import dataclasses
import importlib
import inspect
import json
import shutil
import typing
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from data.config import DataConfig
from launch.cli import main
from launch.config import load, save
from launch.run.saved import _verified
from tests.command import ROOT, SMALL, meshloom, records
from train.checkpoint import manifest
from train.checkpoint.checkpointer import Checkpointer
from train.config import CheckpointConfig

EACH_STEP = CheckpointConfig(every_steps=1, keep_latest=9)


class Raced(Checkpointer):
    """Its newest checkpoint is deleted the moment it is read, as its run may do."""

    raced = 0

    def restore(self, abstract_state: Any, step: int | None = None) -> Any:
        self.raced += 1
        if self.raced == 1:
            self.folder.delete(2)
        return super().restore(abstract_state, step)


def test_a_checkpoint_that_goes_while_it_is_read_is_replaced_by_the_latest(tmp_path: Path) -> None:
    state = {"w": jnp.arange(8.0)}
    with closing(Checkpointer(tmp_path, EACH_STEP)) as checkpointer:
        for step in (0, 2):
            checkpointer.save(step, state, {"examples_seen": step})
    shapes: Any = jax.eval_shape(lambda: state)
    _, meta = _verified(Raced(tmp_path, EACH_STEP), shapes, None)
    assert meta["examples_seen"] == 0
    with pytest.raises(ValueError, match="step 2"):
        _verified(Checkpointer(tmp_path, EACH_STEP), shapes, 2)


MORE = {
    "evaluate": [],
    "generate": ["--tokens", "1"],
    "chat": [],
    "predict": ["--text", "a"],
    "embed": ["--text", "a", "--output", "vectors.npy"],
    "explain": ["--text", "a"],
    "export": ["hf:out"],
    "goodput": [],
    "checkpoint list": [],
    "checkpoint verify": [],
    "checkpoint show": [],
    "checkpoint diff": ["1", "2"],
    "checkpoint prune": ["--keep-latest", "1"],
}
"""Every command that takes a RUN, and what else it needs."""
OLD, NEW = "jsonl:corpus/*.jsonl", "jsonl:else/where/*.jsonl"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `corpus/` and `run`, begun there by relative paths alone."""
    here = tmp_path_factory.mktemp("first")
    (here / "corpus").mkdir()
    documents = [
        {"text": f"Night {n} was dark and stormy, and the sea was high."} for n in range(300)
    ]
    text = "".join(json.dumps(record) + "\n" for record in documents)
    (here / "corpus" / "text.jsonl").write_text(text)
    data = ["--data.sources", OLD, "--data.held-out", "0.2", "--data.cache-dir", "cache"]
    tokenizer = "corpus/tokenizer.json"
    meshloom("data", "tokenizer", tokenizer, *data, "--vocab-size", "280", cwd=here)
    words = [*data, "--data.tokenizer", tokenizer, "--model.vocab-size", "300", "--run-dir", "run"]
    steps = ["--train.steps", "2", "--train.checkpoint.every-steps", "1"]
    meshloom("train", "tiny", *SMALL, *words, *steps, cwd=here)
    return here


@pytest.fixture
def moved(trained: Path, tmp_path: Path) -> Path:
    """A copy of that folder, in which `corpus/` is `else/where/`, and the run's config knows no
    `corpus/` that could be read."""
    here = Path(shutil.copytree(trained, tmp_path / "moved"))
    (here / "else").mkdir()
    (here / "corpus").rename(here / "else" / "where")
    file = here / "run" / "config.yaml"
    file.write_text(file.read_text().replace(f"{trained}/corpus", f"{here}/corpus"))
    return here


def test_a_decoder_is_not_asked_for_texts_of_sources(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever else is asked of it, the reason is that."""
    run = str(trained / "run")
    for words, reason in (
        (["predict", run, "--text", "a", "--beams", "2"], "must be of a model that fills in"),
        (["evaluate", run, "--measures", "exact"], "is decoder and its data are DataConfig"),
    ):
        assert main(words) == 1
        assert reason in capsys.readouterr().err


def commands() -> Iterator[str]:
    """Those whose options or parameters have a positional RUN."""

    def takes_run(hints: dict[str, Any]) -> bool:
        marks = [mark for hint in hints.values() for mark in getattr(hint, "__metadata__", ())]
        return any(getattr(mark, "metavar", None) == "RUN" for mark in marks)

    for path in sorted((ROOT / "launch" / "commands").glob("*.py")):
        module = importlib.import_module(f"launch.commands.{path.stem}")
        for name, owner in vars(module).items():
            if name.startswith("_") or getattr(owner, "__module__", "") != module.__name__:
                continue
            if dataclasses.is_dataclass(owner) or inspect.isfunction(owner):
                if not takes_run(typing.get_type_hints(owner, include_extras=True)):
                    continue
                if inspect.isfunction(owner):
                    yield f"{path.stem} {'list' if name == 'list_steps' else name}"
                else:
                    yield name.removesuffix("Options").lower()


def test_every_command_that_takes_a_run_is_tried_here() -> None:
    assert set(commands()) == MORE.keys()


@pytest.mark.parametrize("command", [*MORE, "train"])
def test_a_config_of_another_run_is_refused_by_every_command(
    command: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    config = load(run / "config.yaml")
    other = dataclasses.replace(config.model, mlp_dim=96)
    save(dataclasses.replace(config, model=other), run / "config.yaml")
    words = [*command.split(), str(run), *MORE.get(command, [])]
    if command == "train":
        words = ["train", "--resume", "--run-dir", str(run)]
    assert main(words) == 1
    error = capsys.readouterr().err
    assert "config.yaml must be the config of the run's checkpoints" in error
    assert "model.mlp_dim: was 64, now 96" in error
    (run / "config.yaml").write_text("model: [")
    assert main(words) == 1
    assert f"config={run}/config.yaml must be a readable YAML file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "generate", "train"])
def test_another_tokenizer_at_the_old_path_is_refused(
    command: str, trained: Path, tmp_path: Path
) -> None:
    words = [command, "run"] if command != "train" else ["train", "--resume", "--run-dir", "run"]
    here = Path(shutil.copytree(trained, tmp_path / "copy"))
    path = here / "corpus" / "tokenizer.json"
    changed = path.read_text().replace('"add_prefix_space":false', '"add_prefix_space":true')
    assert changed != path.read_text()
    path.write_text(changed)
    error = meshloom(*words, "--data.tokenizer", str(path), cwd=here, expect=1).stderr
    digest = json.loads((here / "run/checkpoints/2/meta.json").read_text())["tokenizer_digest"]
    assert f"data.tokenizer='{path}' has the digest " in error
    assert f"must be {digest[:16]}, because " in error
    assert "try --data.tokenizer with the path where that tokenizer is now" in error


def test_a_run_of_relative_paths_goes_on_from_anywhere(trained: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    data = load(run / "config.yaml").data
    assert isinstance(data, DataConfig)
    assert data.sources == (f"jsonl:{trained}/corpus/*.jsonl",)
    assert data.tokenizer == f"{trained}/corpus/tokenizer.json"
    assert data.cache_dir == f"{trained}/cache"
    meshloom("train", "--run-dir", "run", "--resume", "--train.steps", "3", cwd=tmp_path)
    assert [record["step"] for record in records(run)] == [1, 2, 3]
    assert "step 3  held-out loss" in meshloom("evaluate", "run", cwd=tmp_path).stdout


def test_a_moved_corpus_is_known_by_its_content(trained: Path, moved: Path) -> None:
    tokenizer = ["--data.tokenizer", "else/where/tokenizer.json"]
    flags = [*tokenizer, "--data.sources", NEW]
    at_first = meshloom("evaluate", "run", cwd=trained).stdout
    cache = ["--data.cache-dir", "other"]
    assert meshloom("evaluate", "run", *flags, *cache, cwd=moved).stdout == at_first
    said = meshloom("generate", "run", *tokenizer, "--tokens", "4", cwd=moved).stderr
    assert said.endswith("tokens/s\n") and said.count("\n") == 1
    resume = ["train", "--run-dir", "run", "--resume", "--train.steps", "3"]
    meshloom(*resume, *flags, cwd=moved)
    now = load(moved / "run/config.yaml").data
    assert isinstance(now, DataConfig) and now.sources == (f"jsonl:{moved}/{NEW[6:]}",)
    assert [record["step"] for record in records(moved / "run")] == [1, 2, 3]

    text = moved / "else" / "where" / "text.jsonl"
    text.write_text(text.read_text().replace("stormy", "silent"))
    for words in (resume, ["evaluate", "run"]):
        error = meshloom(*words, cwd=moved, expect=1).stderr
        assert "data digest=" in error and "the text, or the version" in error
        error = meshloom(*words, "--data.sources", "jsonl:else/*/*.jsonl", cwd=moved, expect=1)
        was = f"data.sources: was ['jsonl:{moved}/{NEW[6:]}'], now ['jsonl:{moved}/else/*/*.jsonl']"
        assert was in error.stderr


@pytest.mark.parametrize("words", [("generate", "run"), ("evaluate", "run")])
def test_a_run_of_an_older_version_is_refused_with_a_way_out(
    trained: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    run = Path(shutil.copytree(trained / "run", tmp_path / "run"))
    shutil.rmtree(run / "checkpoints" / "1")
    _rewrite_meta(run / "checkpoints" / "2", "tokenizer_digest")
    error = meshloom(*words, cwd=tmp_path, expect=1).stderr
    assert "must be of a version that trains on where documents begin" in error
    assert error.rstrip().endswith("try the version that trained it, or a new run")


def _rewrite_meta(checkpoint: Path, without: str) -> None:
    """Leave a field out of a checkpoint's meta, and make its manifest again."""
    meta = json.loads((checkpoint / "meta.json").read_text())
    del meta[without]
    (checkpoint / "meta.json").write_text(json.dumps(meta))
    before = manifest.read(checkpoint)
    (checkpoint / manifest.MANIFEST).unlink()
    files = manifest.flushed(checkpoint, manifest.file_names(checkpoint))
    manifest.write(checkpoint, before._replace(files=files))
