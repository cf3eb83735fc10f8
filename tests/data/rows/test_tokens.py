"""The data contract: row i is a function of the digest and i, whoever reads it from wherever."""

import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig
from data.order import joined
from data.rows.tokens import TokenWindows
from data.tokenizer import ByteTokenizer, load_tokenizer
from tests.data.rows.token_windows import T, documents_in, quietly, stream_of, write

END = ByteTokenizer.end.id


def first(rows: TokenWindows, count: int, batch_size: int, start: int = 0) -> np.ndarray:
    """Rows start .. start + count with their targets, read in batches."""
    batches = rows.batches(start, batch_size, np.arange(batch_size))
    taken = itertools.islice(batches, -(-count // batch_size))
    joined = [np.concatenate([b.tokens, b.targets[:, -1:]], axis=1) for b in taken]
    return np.concatenate(joined)[:count]


def test_each_window_comes_once_an_epoch_in_another_order(rows: TokenWindows) -> None:
    epochs = [rows.examples(np.arange(rows.num_rows) + e * rows.num_rows) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(rows.num_rows))
    assert not np.array_equal(epochs[0], epochs[1]) and not np.array_equal(epochs[1], epochs[2])
    assert not np.array_equal(epochs[0], np.arange(rows.num_rows))


def test_each_token_is_a_target_once(rows: TokenWindows, config: DataConfig) -> None:
    inputs, targets = stream_of(rows)
    assert len(targets) == rows.num_rows * T == rows.num_tokens // T * T
    assert inputs[0] == END
    np.testing.assert_array_equal(inputs[1:], targets[:-1])
    lines = Path(config.sources[0].removeprefix("jsonl:")).read_text().splitlines()
    remaining = iter([json.loads(line)["text"] for line in lines])
    *whole, cut = documents_in(rows, targets)
    assert all(text in remaining for text in whole)
    assert any(text.startswith(cut) for text in remaining)


@settings(max_examples=25, deadline=None)
@given(start=st.integers(0, 700), size=st.integers(1, 33), other=st.integers(1, 33))
def test_rows_depend_on_their_number_alone(
    rows: TokenWindows, start: int, size: int, other: int
) -> None:
    np.testing.assert_array_equal(first(rows, 40, size, start), first(rows, 40, other, start))
    np.testing.assert_array_equal(first(rows, 40, size, start), first(rows, start + 40, 64)[start:])


@settings(max_examples=25, deadline=None)
@given(
    skips=st.lists(st.tuples(st.integers(0, 80), st.integers(1, 30)), max_size=3),
    sizes=st.lists(st.integers(1, 33), min_size=1, max_size=4),
    processes=st.integers(1, 3),
)
def test_every_row_that_is_not_skipped_comes_once_and_in_order(
    rows: TokenWindows, skips: list[tuple[int, int]], sizes: list[int], processes: int
) -> None:
    """Each size is a run that goes on for two steps from where the one before it stopped."""
    skipped = ()
    for start, count in skips:
        skipped = joined(skipped, start, start + count)
    position, actual = 0, []
    for size in sizes:
        shares = np.array_split(np.arange(size), processes)
        readers = [rows.batches(position, size, share, skipped) for share in shares]
        for _ in range(2):
            actual += [np.concatenate([next(reader).tokens for reader in readers])]
            position += size
    gone = {row for first, after in skipped for row in range(first, after)}
    left = [row for row in range(position + 100) if row not in gone][:position]
    np.testing.assert_array_equal(np.concatenate(actual), rows.batch(np.array(left)).tokens)


@settings(max_examples=40, deadline=None)
@given(owners=st.lists(st.integers(0, 2), min_size=1, max_size=12), start=st.integers(0, 500))
def test_processes_share_a_batch(rows: TokenWindows, owners: list[int], start: int) -> None:
    size = len(owners)
    whole = [next(rows.batches(start, size, np.arange(size)))]
    for process in range(3):
        mine = np.flatnonzero(np.array(owners) == process)
        part = next(rows.batches(start, size, mine))
        for got, wanted in zip(part, whole[0], strict=True):
            assert got is not None and wanted is not None
            np.testing.assert_array_equal(got, wanted[mine])
            assert got.dtype == wanted.dtype


def test_rows_are_the_same_in_another_process(config: DataConfig, rows: TokenWindows) -> None:
    code = (
        "import sys, numpy as np; from data.config import DataConfig\n"
        f"rows = {config!r}.open_rows('train')\n"
        "assert not {'jax', 'grain', 'tensorflow_datasets', 'pyarrow'} & set(sys.modules)\n"
        "print(rows.digest, *next(rows.batches(7, 3, np.arange(3))).tokens.ravel())"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert output[0] == rows.digest
    expected = next(rows.batches(7, 3, np.arange(3))).tokens.ravel()
    assert [int(token) for token in output[1:]] == expected.tolist()


def test_the_order_is_what_it_was(rows: TokenWindows) -> None:
    """A change of Grain or of ours that moves rows must not go unnoticed: raise ORDER with it."""
    assert rows.num_rows == 303
    assert rows.examples(np.arange(8)).tolist() == [92, 50, 223, 296, 185, 236, 274, 255]


def places_by_hand(tokens: np.ndarray, begin: int) -> tuple[list[int], list[int]]:
    segment, position, segments, positions = 0, 0, [], []
    for token in tokens:
        if token == begin or not segments:
            segment, position = segment + 1, 0
        segments.append(segment)
        positions.append(position)
        position += 1
    return segments, positions


def test_packing_keeps_documents_apart(rows: TokenWindows) -> None:
    batch = next(rows.batches(0, rows.num_rows, np.arange(rows.num_rows)))
    assert batch.segment_ids is not None and batch.positions is not None
    for row in range(rows.num_rows):
        segments, positions = places_by_hand(batch.tokens[row], END)
        assert batch.segment_ids[row].tolist() == segments
        assert batch.positions[row].tolist() == positions
    assert (batch.weights == 1).all() and batch.segment_ids.max() > 1
    assert [np.asarray(array).dtype.name for array in batch] == ["int32"] * 4 + ["float32"]


@settings(max_examples=25, deadline=None)
@given(
    documents=st.lists(st.text("ab \u65e5", min_size=1, max_size=30), min_size=1, max_size=12),
    length=st.integers(1, 12),
    kind=st.integers(0, 2),
)
def test_a_boundary_is_begin_as_input_and_end_as_target(
    folder: Path, vocabularies: list[str], documents: list[str], length: int, kind: int
) -> None:
    encoded = load_tokenizer(vocabularies[kind]).encode_batch(documents)
    length = min(length, sum(map(len, encoded)) + len(documents))
    config = DataConfig(
        sources=(write(folder / "drawn.jsonl", documents),),
        tokenizer=vocabularies[kind],
        sequence_length=length,
        held_out=0,
        cache_dir=str(folder / "drawn"),
    )
    packed, plain = quietly(config), quietly(replace(config, packing=False))
    begin, end = packed.tokenizer.begin.id, packed.tokenizer.end.id
    assert (begin == end) is (kind != 1)
    targets = [id for ids in encoded for id in [*ids.tolist(), end]]
    inputs = [id for ids in encoded for id in [begin, *ids.tolist()]]
    for rows in (packed, plain):
        actual = stream_of(rows)
        assert actual.tolist() == [inputs[: actual.shape[1]], targets[: actual.shape[1]]]
        assert rows.num_rows == len(targets) // length
    batch, same = (rows.batch(np.arange(packed.num_rows)) for rows in (packed, plain))
    assert batch.segment_ids is not None and batch.positions is not None
    for row, segments, positions in zip(
        batch.tokens, batch.segment_ids, batch.positions, strict=True
    ):
        assert (segments.tolist(), positions.tolist()) == places_by_hand(row, begin)
    assert same.segment_ids is None and same.positions is None
    assert (batch.weights == 1).all() and (same.weights == 1).all()
    scored = packed.text_bytes(np.arange(packed.num_rows))
    assert scored == plain.text_bytes(np.arange(plain.num_rows))
    if not len(targets) % length:
        assert scored == len("".join(documents).encode())


def test_the_text_of_a_row_is_cut_from_its_documents(
    rows: TokenWindows, config: DataConfig
) -> None:
    lines = Path(config.sources[0].removeprefix("jsonl:")).read_text().splitlines()
    wanted = [json.loads(line)["text"] for line in lines]
    for row in range(40):
        *rest, last = rows.text(row)
        (targets,) = rows.batch(np.array([row])).targets
        assert ["".join([*rest, last])] == rows.tokenizer.decode_batch([targets])
        assert all(any(part in text for text in wanted) for part in [*rest, last])


def test_without_packing_it_is_a_plain_stream(config: DataConfig, rows: TokenWindows) -> None:
    plain = quietly(replace(config, packing=False))
    batch = next(plain.batches(0, 5, np.arange(5)))
    np.testing.assert_array_equal(batch.tokens, first(rows, 5, 5)[:, :-1])
    assert batch.segment_ids is None and batch.positions is None
    assert (batch.weights == 1).all()
    assert plain.digest != rows.digest


def test_rows_may_each_begin_as_a_document(config: DataConfig, rows: TokenWindows) -> None:
    """Targets are the same: only the first input of a row is another."""
    begun = quietly(replace(config, begin_rows=True))
    own, other = (each.batch(np.arange(rows.num_rows)) for each in (begun, rows))
    assert (own.tokens[:, 0] == END).all() and (other.tokens[:, 0] != END).any()
    np.testing.assert_array_equal(own.tokens[:, 1:], other.tokens[:, 1:])
    np.testing.assert_array_equal(own.targets, other.targets)
    assert own.segment_ids is not None and (own.segment_ids[:, 0] == 1).all()
    np.testing.assert_array_equal(own.positions, other.positions)
    assert begun.digest != rows.digest


@pytest.mark.parametrize("packing", [True, False])
def test_shapes_known_beforehand_are_those_of_batches(config: DataConfig, packing: bool) -> None:
    config = replace(config, packing=packing)
    for field, shape in zip(
        quietly(config).batch(np.arange(5)), config.batch_shapes(5), strict=True
    ):
        assert (field is None) is (shape is None)
        if field is not None and shape is not None:
            assert (field.shape, field.dtype) == (shape.shape, shape.dtype)


def test_origin_is_where_a_row_begins(rows: TokenWindows, config: DataConfig) -> None:
    content = Path(config.sources[0].removeprefix("jsonl:")).read_bytes()
    for i in range(20):
        file, _, place = rows.origin(i).rpartition(" at ")
        assert f"jsonl:{file}" == config.sources[0]
        text = json.loads(content[int(place) :].split(b"\n")[0])["text"]
        assert rows.text(i)[0] in text
