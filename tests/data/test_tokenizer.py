"""Tokenizers: text goes through unchanged, the end of a document never comes from text."""

import io
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig
from data.tokenizer import ByteTokenizer, JsonTokenizer, PieceTokenizer, Tokenizer, load_tokenizer
from data.train_tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds bpe.json, and a SentencePiece model that falls back to bytes."""
    path = tmp_path_factory.mktemp("tokenizers")
    config = DataConfig(sources=("synthetic:20000",), cache_dir=str(path / "cache"))
    train_tokenizer(config, 300, path / "bpe.json", report=lambda line: None)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["la ba de", "ni vu xa zo", "fi go ku"] * 20),
        model_writer=model,
        vocab_size=300,
        byte_fallback=True,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        minloglevel=2,
    )
    (path / "piece.model").write_bytes(model.getvalue())
    return path


@pytest.fixture(scope="module")
def make(folder: Path) -> Callable[[str], Tokenizer]:
    tokenizers = {
        "bytes": load_tokenizer("bytes"),
        "bpe": load_tokenizer(str(folder / "bpe.json")),
        "piece": load_tokenizer(str(folder / "piece.model")),
    }
    return tokenizers.__getitem__


KINDS = pytest.mark.parametrize("kind", ["bytes", "bpe", "piece"])


@KINDS
@settings(deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_text_comes_back(make: Callable[[str], Tokenizer], kind: str, text: str) -> None:
    tokenizer = make(kind)
    (ids,) = tokenizer.encode_batch([text])
    if kind == "piece":
        # SentencePiece writes spaces as this mark, and so cannot tell them apart.
        text = text.replace("\u2581", " ")
    assert tokenizer.decode_batch([ids]) == [text]
    assert tokenizer.decode_batch([np.append(ids, tokenizer.end.id)]) == [text]
    assert all(id < tokenizer.vocab_size for id in ids)
    assert tokenizer.end.id not in ids


@KINDS
@pytest.mark.parametrize("text", ["<|endoftext|>", "a</s>b"])
def test_names_of_special_tokens_are_text(
    make: Callable[[str], Tokenizer], kind: str, text: str
) -> None:
    tokenizer = make(kind)
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.end.id not in ids
    assert tokenizer.decode_batch([ids]) == [text]


@KINDS
def test_pieces_have_their_place_in_the_text(make: Callable[[str], Tokenizer], kind: str) -> None:
    tokenizer, texts = make(kind), ["la b\u00e4 de \U0001f600", "ni vu"]
    for text, placed, ids in zip(
        texts, tokenizer.place_batch(texts), tokenizer.encode_batch(texts), strict=True
    ):
        np.testing.assert_array_equal(placed.ids, ids)
        assert (np.diff(placed.starts) >= 0).all() and (placed.starts <= placed.ends).all()
        assert text[placed.starts[0] : placed.ends[-1]] == text
        last = np.flatnonzero(placed.ends > text.index(" "))[0]
        assert text[: placed.ends[last - 1]] == text[: text.index(" ")]


@KINDS
def test_words_go_on_with_letters(make: Callable[[str], Tokenizer], kind: str) -> None:
    tokenizer = make(kind)
    continues = tokenizer.continues_word()
    assert len(continues) == tokenizer.vocab_size and continues.any()
    assert not continues[sorted(tokenizer.special)].any()
    *before, x, q = tokenizer.encode_batch(["a zxq"])[0].tolist()
    assert continues[[x, q]].all() and not continues[before].all()


def test_kind_by_ending(folder: Path) -> None:
    assert isinstance(load_tokenizer("bytes"), ByteTokenizer)
    assert isinstance(load_tokenizer(str(folder / "bpe.json")), JsonTokenizer)
    assert isinstance(load_tokenizer(str(folder / "piece.model")), PieceTokenizer)
    with pytest.raises(
        ValueError, match=r"must be 'bytes' or a path that ends in \.json or \.model"
    ):
        load_tokenizer("byte")


def test_digest_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.json"
    copy.write_bytes((folder / "bpe.json").read_bytes())
    assert load_tokenizer(str(copy)).digest == load_tokenizer(str(folder / "bpe.json")).digest
    copy.write_bytes((folder / "bpe.json").read_bytes() + b"\n")
    assert load_tokenizer(str(copy)).digest != load_tokenizer(str(folder / "bpe.json")).digest


@pytest.mark.parametrize("name", ["none.json", "none.model"])
def test_bad_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ValueError, match=rf"data\.tokenizer=.*{name}' must be a file"):
        load_tokenizer(str(path))
    path.write_bytes(b"{}")
    with pytest.raises(ValueError, match=r"must be a (tokenizer\.json|SentencePiece model)"):
        load_tokenizer(str(path))


def test_the_path_of_a_tokenizer_is_taken_as_it_is_written_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("~me.json", "s3://a.json", "[a]*.json", " \n.json", "\udcff.json"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("not one")
        with pytest.raises(ValueError, match=r"must be a tokenizer\.json, because"):
            load_tokenizer(name)
    os.mkfifo("fifo.json")
    for name, what in {
        "fifo.json": "Not a regular file",
        "none.json": "No such file",
        "a\0.json": "zero byte",
        "~nobody-here/a.json": "no home directory of '~nobody-here'",
    }.items():
        with pytest.raises(ValueError, match=rf"^data\.tokenizer='.* must be .*{what}"):
            load_tokenizer(name)
