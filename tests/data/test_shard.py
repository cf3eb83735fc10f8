"""Writing one shard."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from data.config import DataConfig
from data.corpus import open_corpus
from data.shard import (
    BLOCK,
    is_held_out,
    pack_names,
    record_of,
    token_type,
    unpack_names,
    write_shard,
)
from data.sources.source import Corpus
from tests.vocabularies import byte_fallback


def corpus_of(folder: Path, texts: list[str]) -> Corpus:
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (folder / "a.jsonl").write_text(lines)
    return open_corpus(
        f"jsonl:{folder}/a.jsonl", DataConfig(cache_dir=str(folder)), lambda line: None
    )


def test_tokens_index_and_record_agree(tmp_path: Path) -> None:
    texts = [f"document {i} \u00e4\u00f6\u00fc" * i for i in range(40)]
    corpus = corpus_of(tmp_path, texts)
    evaluated = [text for text in texts[1:] if is_held_out(text.encode(), 0.3)]
    kept = [text for text in texts[1:] if not is_held_out(text.encode(), 0.3)]
    assert evaluated and kept
    size = write_shard(tmp_path, 7, corpus, corpus.pieces(), DataConfig(held_out=0.3))
    assert size == sum(len(text.encode()) for text in texts)
    record = json.loads(record_of(tmp_path, 7).read_text())
    for split, documents in {"train": kept, "held_out": evaluated}.items():
        content = (tmp_path / f"00007.{split}.tokens").read_bytes()
        tokens = np.frombuffer(content, "<u2")
        expected = [[*text.encode(), 256] for text in documents]
        assert tokens.tolist() == [id for ids in expected for id in ids]
        assert record[split] == {
            "tokens": len(tokens),
            "documents": len(documents),
            "bytes": sum(len(text.encode()) for text in documents),
        }
        index = np.load(tmp_path / f"00007.{split}.npz")
        assert index["ends"].tolist() == np.cumsum([len(ids) for ids in expected]).tolist()
        assert unpack_names(index["files"]) == [str(tmp_path / "a.jsonl")]
        assert index["checksums"].tolist() == [
            zlib.crc32(content[i : i + BLOCK]) for i in range(0, len(content), BLOCK)
        ]
    characters = sum(map(len, texts))
    counts = {"characters": characters, "lost": 0, "unknown": 0, "empty": 1}
    assert record["text"] == {**counts, "example": "", "special": []}
    assert not list(tmp_path.glob("*.tmp"))


def test_names_of_files_may_have_any_bytes() -> None:
    names = ["a", "\u00e4 \n", os.fsdecode(b"\xff")]
    assert unpack_names(pack_names(names)) == names


def test_types_are_as_narrow_as_the_vocabulary_allows() -> None:
    assert token_type(65_536) == np.uint16
    assert token_type(65_537) == np.uint32


def test_the_split_is_a_function_of_the_text() -> None:
    texts = [f"text {i}".encode() for i in range(4000)]
    share = sum(is_held_out(text, 0.25) for text in texts) / len(texts)
    assert share == pytest.approx(0.25, abs=0.03)
    assert not any(is_held_out(text, 0.0) for text in texts)
    small = {text for text in texts if is_held_out(text, 0.1)}
    assert small <= {text for text in texts if is_held_out(text, 0.2)}


def test_lone_surrogates_are_named(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, ["fine", "bad \ud800"])
    message = r"must hold Unicode text, .*a\.jsonl the text at 17 has a lone surrogate at .* 4"
    with pytest.raises(ValueError, match=message):
        write_shard(tmp_path, 0, corpus, corpus.pieces(), DataConfig())
    assert not record_of(tmp_path, 0).exists()


@pytest.mark.parametrize("role", ["begin", "end"])
def test_a_token_between_documents_from_text_is_refused(tmp_path: Path, role: str) -> None:
    # Published vocabularies mark their bytes as special tokens, and text is made of those.
    path = byte_fallback(tmp_path / "t.json")
    flags: dict[str, str] = {f"{role}_token": "<0xE6>"}
    config = DataConfig(tokenizer=str(path), **flags)  # pyright: ignore[reportArgumentType]
    corpus = corpus_of(tmp_path, ["ba de", "a \u65e5"])
    message = rf"must not make the {role} token '<0xE6>' .* at 18 of .*; try --data\.{role}-token"
    with pytest.raises(ValueError, match=message):
        write_shard(tmp_path, 0, corpus, corpus.pieces(), config)
    assert not record_of(tmp_path, 0).exists()
