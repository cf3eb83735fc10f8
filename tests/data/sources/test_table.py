"""Kinds of source by name, and one that no table has."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data.config import DataConfig
from data.corpus import open_corpus
from data.sources.source import Source
from data.sources.table import SOURCES, source_of
from data.store import open_store
from data.stream import Store
from data.tokenizer import ByteTokenizer
from tests.outside.source import NumbersData


@pytest.mark.parametrize("kind", SOURCES)
def test_each_kind_is_there_and_its_example_is_of_it(kind: str) -> None:
    source = source_of(kind)
    assert isinstance(source, Source) and source.kind == kind
    source_of(source.example).check()


def test_kinds_are_light_to_import() -> None:
    code = (
        "import sys; from data.config import DataConfig; from data.sources.table import *\n"
        "DataConfig(sources=tuple(source_of(kind).example for kind in SOURCES))\n"
        "print(*sys.modules)"
    )
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"numpy", "jax", "grain", "orbax", "tensorflow_datasets", "etils", "pyarrow"}
    assert not heavy & set(loaded)


def test_a_kind_from_outside_is_tokenized_by_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.store.PIECE", 2000)

    def prepared(spec: str) -> tuple[Store, list[str]]:
        config = NumbersData(sources=(spec,), cache_dir=str(tmp_path), held_out=0.5)
        corpus, lines = open_corpus(spec, config, lambda _: None), list[str]()
        return open_store(corpus, ByteTokenizer(), config, lines.append), lines

    store, lines = prepared("numbers:250")
    assert "tokenized 3 of 3 shards" in lines[-1]
    texts = [text for file in store.folder.glob("*.tokens") for text in spelt(file.read_bytes())]
    assert sorted(texts) == sorted(f"{n} times {n} is {n * n}" for n in range(250))
    again, lines = prepared("numbers:0250")
    assert again.digest == store.digest and not lines
    assert prepared("numbers:251")[0].digest != store.digest


def spelt(tokens: bytes) -> list[str]:
    """Documents of a token file: bytes in uint16, each document ended by 256."""
    ids = np.frombuffer(tokens, "<u2")
    parts = np.split(ids, np.flatnonzero(ids == 256) + 1)
    return [bytes(part[:-1].astype(np.uint8)).decode() for part in parts[:-1]]


def test_a_config_with_a_kind_of_its_own_keeps_the_others_and_checks_all() -> None:
    config = NumbersData(sources=("numbers:7", "text:a.txt")).absolute()
    assert isinstance(config, NumbersData)
    assert config.sources == ("numbers:7", f"text:{Path.cwd()}/a.txt")
    with pytest.raises(ValueError, match=r"data\.sources='numbers:x' must be a number"):
        NumbersData(sources=("numbers:x",))
    with pytest.raises(ValueError, match=r"'number:7' must begin with one of text, jsonl, .* try"):
        NumbersData(sources=("number:7",))
    with pytest.raises(ValueError, match=r"'numbers:7' must begin with one of"):
        DataConfig(sources=("numbers:7",))
