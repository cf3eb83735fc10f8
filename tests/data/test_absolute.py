"""Paths of a config mean the same from every directory once they are absolute."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.config import DataConfig
from data.corpus import open_corpus

NAMES = st.text("ab[]?!-{}~' $", min_size=1, max_size=5).filter(lambda name: name.strip("~ "))


def resolved(source: str) -> str:
    return DataConfig(sources=(source,)).absolute().sources[0]


def opened(source: str, cache: Path) -> tuple[tuple[str, ...], str]:
    corpus = open_corpus(source, DataConfig(cache_dir=str(cache)), lambda _: None)
    return corpus.files, corpus.digest


@given(NAMES, NAMES, NAMES, st.sampled_from(["", "./", "../", ".././"]))
def test_a_relative_source_is_the_same_files_from_another_directory(
    tmp_path_factory: pytest.TempPathFactory, folder: str, inner: str, name: str, up: str
) -> None:
    root = tmp_path_factory.mktemp("places").resolve()
    here = root / folder / inner
    base = here / up
    here.mkdir(parents=True)
    (base / "plain").mkdir()
    (base / "plain" / f"{name}.txt").write_text(name)
    (base / "plain" / "other.txt").write_text("other")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        before = opened(f"text:{up}plain/*.txt", root / "cache")
        pattern, literal = (resolved(f"text:{up}plain/{each}.txt") for each in ("*", name))
        patch.chdir("/")
        assert opened(pattern, root / "cache") == before
        assert len(before[0]) == 2
        assert opened(literal, root / "cache")[0] == (
            os.path.abspath(base / "plain" / f"{name}.txt"),
        )
        assert resolved(pattern) == pattern and resolved(literal) == literal


def test_home_is_resolved_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "me[1]"
    home.mkdir()
    (home / "a.txt").write_text("night")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    files, _ = opened(resolved("text:~/*.txt"), tmp_path / "cache")
    assert files == (f"{home}/a.txt",)
    kept = ("stdlib", "synthetic:100", "tfds:mnist/3.0", "text:gs://b/c/*.txt", "jsonl:/a/*.jsonl")
    config = DataConfig(sources=kept, cache_dir="s3://b/c").absolute()
    assert (config.sources, config.tokenizer, config.cache_dir) == (kept, "bytes", "s3://b/c")
    config = DataConfig(tokenizer="~/t.json", cache_dir="cache").absolute()
    assert (config.tokenizer, config.cache_dir) == (f"{home}/t.json", f"{tmp_path}/cache")
    assert DataConfig(tokenizer="../t.model").absolute().tokenizer == f"{tmp_path.parent}/t.model"


def test_a_moved_corpus_has_the_same_digest(tmp_path: Path) -> None:
    for folder in ("a", "z"):
        for name in ("b/2.txt", "b/10.txt", "c/1.txt"):
            file = tmp_path / folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(name)
    digests = {opened(f"text:{tmp_path}/{each}/*/*.txt", tmp_path)[1] for each in "az"}
    assert len(digests) == 1
    assert opened("synthetic:100", tmp_path) == opened("synthetic:0100", tmp_path)
