"""Stores in a bucket."""

from pathlib import Path

import pytest

from data.config import DataConfig
from data.corpus import open_corpus
from data.store import open_store
from data.stream import Store
from data.tokenizer import ByteTokenizer
from tests.bucket import bucket_in_memory

CACHE = "s3://bucket/cache"


def open_from_bucket(lines: list[str]) -> Store:
    config = DataConfig(held_out=0.1, cache_dir=CACHE)
    corpus = open_corpus("synthetic:30000", config, lines.append)
    return open_store(corpus, ByteTokenizer(), config, lines.append)


def test_the_second_machine_copies_what_the_first_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = bucket_in_memory()
    monkeypatch.setenv("HOME", str(tmp_path / "first"))
    first: list[str] = []
    digest = open_from_bucket(first).digest
    assert any("tokenized 1 of 1 shards" in line for line in first)
    (folder,) = bucket.ls("s3://bucket/cache/stores", detail=False)
    assert folder.endswith(digest)
    assert {name.rsplit("/", 1)[1] for name in bucket.ls(folder, detail=False)} == {
        *("00000.train.tokens", "00000.train.npz", "00000.held_out.tokens", "00000.held_out.npz"),
        "manifest.json",
    }
    monkeypatch.setenv("HOME", str(tmp_path / "second"))
    second: list[str] = []
    assert open_from_bucket(second).digest == digest
    assert [line for line in second if "tokenized" in line] == []
    assert any(line.startswith("copying the tokens of synthetic:30000 from") for line in second)
    stores = [tmp_path / name / ".cache/meshloom/stores" / digest for name in ("first", "second")]
    for name in ("00000.train.tokens", "00000.train.npz", "manifest.json"):
        assert (stores[0] / name).read_bytes() == (stores[1] / name).read_bytes()
    third: list[str] = []
    open_from_bucket(third)
    assert third == []
