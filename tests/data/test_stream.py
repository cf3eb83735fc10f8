"""Reading stores back, and noticing damage."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig
from data.corpus import open_corpus
from data.shard import BLOCK
from data.store import open_store
from data.stream import Store
from data.tokenizer import ByteTokenizer

SIZE = 200_000


def make(folder: Path) -> Store:
    config = DataConfig(held_out=0.0, cache_dir=str(folder))
    corpus = open_corpus(f"synthetic:{SIZE}", config, lambda line: None)
    return open_store(corpus, ByteTokenizer(), config, lambda line: None)


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, np.ndarray]:
    """A store of several small shards, and all its tokens."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("data.sources.synthetic.PIECE", 30_000)
        patch.setattr("data.store.PIECE", 30_000)
        store = make(folder)
    (place,) = (folder / "stores").glob("*/manifest.json")
    files = sorted(place.parent.glob("*.train.tokens"))
    assert len(files) == 7
    return store, np.concatenate([np.fromfile(file, "<u2") for file in files])


@settings(deadline=None)
@given(data=st.data())
def test_windows_are_slices_of_all_shards_joined(
    cut: tuple[Store, np.ndarray], data: st.DataObject
) -> None:
    store, tokens = cut
    stream = store.splits["train"]
    assert stream.num_tokens == len(tokens) == SIZE + stream.num_documents
    length = data.draw(st.integers(1, 90_000))
    starts = data.draw(st.lists(st.integers(0, len(tokens) - length), max_size=3))
    out = np.empty((len(starts), length), np.int32)
    stream.read(np.array(starts, np.int64), out)
    for row, start in zip(out, starts, strict=True):
        np.testing.assert_array_equal(row, tokens[start : start + length])


def test_origin_is_the_document_that_holds_the_token(cut: tuple[Store, np.ndarray]) -> None:
    store, tokens = cut
    ends = np.flatnonzero(tokens == ByteTokenizer.end.id)
    stream = store.splits["train"]
    assert stream.origin(0) == "synthetic at 0"
    for document in (3, 30, 77):
        assert stream.origin(int(ends[document])) == f"synthetic at {document * 1000}"
        assert stream.origin(int(ends[document]) + 1) == f"synthetic at {document * 1000 + 1000}"


def folder_of(tmp_path: Path) -> Path:
    make(tmp_path)
    return next((tmp_path / "stores").glob("*/manifest.json")).parent


def test_a_flipped_bit_is_detected_when_its_block_is_read(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    path = folder / "00000.train.tokens"
    content = bytearray(path.read_bytes())
    content[BLOCK + 5] ^= 1
    path.write_bytes(content)
    stream = Store(folder).splits["train"]
    row = np.empty((1, 100), np.int32)
    stream.read(np.array([0]), row)
    message = rf"the token file .*00000\.train\.tokens must .* bytes from {BLOCK:,} on have a wrong"
    with pytest.raises(ValueError, match=message):
        stream.read(np.array([BLOCK // 2 - 50]), row)


def test_a_file_of_another_size_is_refused_on_opening(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    path = folder / "00000.train.tokens"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(
        ValueError, match=r"00000\.train\.tokens must .* bytes and not .*; try remov"
    ):
        Store(folder)
    path.unlink()
    with pytest.raises(ValueError, match="it has 0 bytes and not"):
        Store(folder)


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    stream = Store(folder).splits["train"]
    row = np.empty((1, 100), np.int32)
    stream.read(np.array([0]), row)
    os.truncate(folder / "00000.train.tokens", BLOCK + 10)
    with pytest.raises(
        ValueError, match=rf"00000\.train\.tokens must .* ends after {BLOCK + 10:,}"
    ):
        stream.read(np.array([BLOCK // 2]), row)


@pytest.mark.parametrize("damage", [b"", b"PK cut", None])
def test_a_damaged_index_is_named(tmp_path: Path, damage: bytes | None) -> None:
    folder = folder_of(tmp_path)
    path = folder / "00000.train.npz"
    content = path.read_bytes()
    inside = content.index(b"checksums.npy") + 100
    flipped = content[:inside] + bytes([content[inside] ^ 1]) + content[inside + 1 :]
    path.write_bytes(flipped if damage is None else damage)
    with pytest.raises(ValueError, match=r"its index 00000\.train\.npz is damaged"):
        Store(folder).splits["train"].read(np.array([0]), np.empty((1, 8), np.int32))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"type": "no"}', "[" * 100_000])
def test_a_damaged_manifest_is_named_with_what_to_remove(tmp_path: Path, content: str) -> None:
    folder = folder_of(tmp_path)
    (folder / "manifest.json").write_text(content)
    message = rf"{folder}/manifest\.json must be the manifest .*; try removing the folder {folder},"
    with pytest.raises(ValueError, match=message):
        Store(folder)
