"""Training a BPE."""

from pathlib import Path

import pytest

from data.config import DataConfig
from data.shard import is_held_out
from data.tokenizer import load_tokenizer
from data.train_tokenizer import train_tokenizer


def test_learns_what_is_not_held_out(tmp_path: Path) -> None:
    texts = [f"{word} " * 50 for word in ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")]
    for i, text in enumerate(texts):
        (tmp_path / f"{i}.txt").write_text(text)
    config = DataConfig(
        sources=(f"text:{tmp_path}/*.txt",), held_out=0.5, cache_dir=str(tmp_path / "cache")
    )
    lines: list[str] = []
    train_tokenizer(config, 400, tmp_path / "bpe.json", report=lines.append)
    tokenizer = load_tokenizer(str(tmp_path / "bpe.json"))
    evaluated = [is_held_out(text.encode(), 0.5) for text in texts]
    assert True in evaluated and False in evaluated
    for text, out in zip(texts, evaluated, strict=True):
        (ids,) = tokenizer.encode_batch([text.split()[0]])
        assert (len(ids) > 2) == out
    assert lines[-1] == f"learnt {tokenizer.vocab_size:,} tokens"


def test_refuses_small_vocabularies_and_overwriting(tmp_path: Path) -> None:
    config = DataConfig(sources=("synthetic:2000",), cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match="vocab_size=256 must be at least 257"):
        train_tokenizer(config, 256, tmp_path / "bpe.json", report=print)
    there = tmp_path / "there.json"
    there.write_text("precious")
    with pytest.raises(ValueError, match=r"must be a new file that ends in \.json"):
        train_tokenizer(config, 300, there, report=print)
    assert there.read_text() == "precious"


def test_a_place_that_cannot_be_written_is_refused_before_any_text_is_read(tmp_path: Path) -> None:
    config = DataConfig(sources=("text:/nowhere/*.txt",), cache_dir=str(tmp_path / "cache"))
    (tmp_path / "dang").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere.json")
    before = sorted(tmp_path.iterdir())
    for output in ("dang/x.json", "file/x.json", "file/deep/x.json", "link.json"):
        with pytest.raises(ValueError, match=rf"output='.*{output}' must be .*; try") as refused:
            train_tokenizer(config, 300, tmp_path / output, report=print)
        assert "nowhere/*" not in str(refused.value)
    assert sorted(tmp_path.iterdir()) == before
