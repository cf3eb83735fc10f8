"""Rows of which spans are cut out: nothing is lost, T5's lengths, and draws by seed and place."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Fast
from tokenizers import models, pre_tokenizers

from data.batch import SourceTargetRows
from data.rows.spans import SpanWindows, open_spans, parted
from data.sentinels import SentinelTokenizer
from data.spans_config import SpansConfig
from data.text import TextStream
from data.tokenizer import ByteTokenizer, load_tokenizer
from launch.presets.preset import preset

CONFIG = SpansConfig(sources=("synthetic:60000",), sequence_length=64, held_out=0.2, seed=3)
END, FIRST = 256, 356


def rows_of(config: SpansConfig = CONFIG) -> SpanWindows:
    return open_spans(config, "train", lambda line: None)


@pytest.fixture(scope="module")
def rows() -> SpanWindows:
    return rows_of()


def side(ids: np.ndarray, segments: np.ndarray) -> list[int]:
    """Tokens of a row without padding and the end."""
    (own,) = np.nonzero(segments)
    assert own.tolist() == list(range(len(own))) and ids[own[-1]] == END
    return ids[own[:-1]].tolist()


def spans_of(ids: list[int]) -> list[list[int]]:
    """What stands before the first sentinel and after each, which count down from the first."""
    parts: list[list[int]] = [[]]
    for id in ids:
        if id > END:
            assert id == FIRST - len(parts) + 1
            parts.append([])
        else:
            parts[-1].append(id)
    return parts


def test_source_and_target_make_up_the_text(rows: SpanWindows) -> None:
    indices = np.arange(400)
    windows, _ = rows.windows(indices)
    batch = rows.batch(indices)
    cut, there = 0, 0
    for n, window in enumerate(windows[:, 1:]):
        text = window[window != -1].tolist()
        kept = spans_of(side(batch.sources[n], batch.source_segments[n]))
        before, *hidden = spans_of(side(batch.targets[n], batch.segment_ids[n]))
        assert before == [] and kept.pop() == [], "a text begins with what stays, and ends cut out"
        # No two spans touch.
        assert all(kept) and all(hidden) and len(kept) == len(hidden)
        both = zip(kept, hidden, strict=True)
        assert [id for pair in both for part in pair for id in part] == text
        assert len(hidden) == CONFIG.cut_out(len(text)).spans
        cut, there = cut + sum(map(len, hidden)), there + len(text)
    assert cut / there == pytest.approx(0.15, abs=0.01)
    assert batch.tokens[:, 0].tolist() == [END] * 400
    own = batch.segment_ids[:, 1:] > 0
    np.testing.assert_array_equal(batch.tokens[:, 1:][own], batch.targets[:, :-1][own])
    np.testing.assert_array_equal(batch.weights, batch.segment_ids > 0)
    for positions, segments in (
        (batch.source_positions, batch.source_segments),
        (batch.positions, batch.segment_ids),
    ):
        np.testing.assert_array_equal(positions, np.arange(positions.shape[1]) * segments)


def random_spans_helper(inputs: int, density: float, mean: float) -> tuple[int, int]:
    """Tokens and targets of T5's `preprocessors.random_spans_helper`."""

    def lengths(tokens: int) -> tuple[int, int]:
        noise = round(tokens * density)
        spans = round(noise / mean)
        return tokens - noise + spans + 1, noise + spans + 1

    tokens = inputs - 1
    while lengths(tokens + 1)[0] <= inputs:
        tokens += 1
    return tokens, lengths(tokens)[1]


@pytest.mark.parametrize("length", [64, 114, 512, 2048])
@pytest.mark.parametrize(("share", "mean"), [(0.15, 3.0), (0.5, 3.0), (0.15, 10.0)])
def test_lengths_are_those_of_t5(length: int, share: float, mean: float) -> None:
    config = SpansConfig(sequence_length=length, noise_share=share, span_length=mean)
    wanted = random_spans_helper(length, share, mean)
    assert (config.window_length, config.written_length) == wanted
    if (length, share, mean) == (512, 0.15, 3.0):
        assert wanted == (568, 114)
    # A row with borders of documents in it has less text.
    sides = [(config.source_length(n), sum(config.cut_out(n)) + 1) for n in range(wanted[0] + 1)]
    assert np.max(sides, axis=0).tolist() == [length, wanted[1]]


def test_spans_are_drawn_from_all_ways_alike() -> None:
    draw = np.random.default_rng(0)
    counts = Counter(tuple(parted(5, 3, draw).tolist()) for _ in range(6000))
    assert len(counts) == 6 and all(sum(sizes) == 5 for sizes in counts)
    assert min(counts.values()) > 850
    assert parted(4, 4, draw).tolist() == [1] * 4 and parted(1, 0, draw).tolist() == []


def test_each_epoch_draws_anew_and_any_process_alike(rows: SpanWindows) -> None:
    n = rows.num_rows
    first = {int(e): i for i, e in enumerate(rows.examples(np.arange(n)))}
    again = {int(e): n + i for i, e in enumerate(rows.examples(np.arange(n, 2 * n)))}

    def targets(index: int) -> list[int]:
        return rows.batch(np.array([index])).targets[0].tolist()

    assert not any(targets(first[e]) == targets(again[e]) for e in range(20))
    whole = rows.batch(np.arange(8))
    for row in range(8):
        alone = rows_of().batch(np.array([row]))
        for both, single in zip(whole, alone, strict=True):
            np.testing.assert_array_equal(both[row], single[0])


def test_what_decides_the_rows_decides_their_digest(rows: SpanWindows) -> None:
    changes = ({"seed": 4}, {"noise_share": 0.3}, {"span_length": 2.0}, {"sequence_length": 65})
    others = [rows_of(dataclasses.replace(CONFIG, **change)).digest for change in changes]
    assert len({rows.digest, *others}) == 5
    assert rows_of().digest == rows.digest
    text = np.arange(40)
    assert (rows.cut(text, 0)[0] != rows.cut(text, 1)[0][:41]).any()


def test_held_out_rows_past_the_end_do_not_count() -> None:
    rows = open_spans(CONFIG, "held_out", lambda line: None)
    batch = rows.batch(np.arange(rows.num_rows + 2))
    assert (batch.weights[-2:] == 0).all() and (batch.weights[:-2].sum(1) > 0).all()


def test_shapes_are_those_of_rows(rows: SpanWindows) -> None:
    batch, shapes = rows.batch(np.arange(3)), CONFIG.batch_shapes(3)
    assert isinstance(shapes, SourceTargetRows)
    assert isinstance(batch, SourceTargetRows)
    for array, shape in zip(batch, shapes, strict=True):
        assert (array.shape, array.dtype) == (shape.shape, shape.dtype)


def test_a_text_of_a_token_stays_whole(rows: SpanWindows) -> None:
    assert [part.tolist() for part in rows.cut(np.array([7]), 0)] == [[7, END], [END]]
    assert [part.tolist() for part in rows.cut(np.array([7, 8]), 0)] == [
        [7, FIRST, END],
        [FIRST, 8, END],
    ]


def test_a_model_must_know_the_sentinels_and_have_places(rows: SpanWindows) -> None:
    model = preset("tiny-t5-spans").model
    rows.check(model)
    words = r"model\.vocab_size=356 must be at least 357"
    with pytest.raises(ValueError, match=words):
        rows.check(dataclasses.replace(model, vocab_size=356))
    half = rows_of(dataclasses.replace(CONFIG, noise_share=0.7))
    words = r"\d+ tokens of targets of data\.sequence_length=64 must be at most .*length=64"
    with pytest.raises(ValueError, match=words):
        half.check(dataclasses.replace(model, max_length=64))


def test_sentinels_have_names_in_a_text() -> None:
    tokenizer = SentinelTokenizer(ByteTokenizer())
    text = "<extra_id_0>ä<extra_id_99> b<extra_id_100>"
    (ids,) = tokenizer.encode_batch([text])
    plain = [*"ä".encode(), *b" b<extra_id_100>"]
    assert ids.tolist() == [FIRST, *plain[:2], FIRST - 99, *plain[2:]]
    assert tokenizer.decode_batch([ids, [END], []]) == [text, "", ""]
    stream = TextStream(tokenizer)
    assert "".join([stream.add(ids[:2]), stream.add(ids[2:]), stream.close()]) == text


def test_sentinels_are_the_tokenizers_own(tmp_path: Path) -> None:
    names = ["a", "</s>", *(f"<extra_id_{n}>" for n in reversed(range(5)))]
    fast = Fast(models.WordLevel({n: i for i, n in enumerate(names)}, unk_token="a"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.add_special_tokens(names[1:])
    path = tmp_path / "tokenizer.json"
    fast.save(str(path))
    config = dataclasses.replace(
        CONFIG,
        sequence_length=24,
        tokenizer=str(path),
        lost_characters=1.0,
        cache_dir=str(tmp_path / "cache"),
    )
    rows = rows_of(config)
    source, _ = rows.cut(np.zeros(16, np.int32), 0)
    assert source[source > 1].tolist() == [6]
    assert rows.num_ids == 7 and "sentinels are 6 to 6" in rows.describe()[1]
    words = r"data\.sequence_length=128 must make at most 5 spans .* makes 7; .*--data\.span-length"
    with pytest.raises(ValueError, match=words):
        rows_of(dataclasses.replace(config, sequence_length=128))
    rows_of(dataclasses.replace(config, sequence_length=128, span_length=6.0))
    tokenizer = SentinelTokenizer(load_tokenizer(str(path)))
    assert tokenizer.encode_marked("a <extra_id_1>a").tolist() == [0, 5, 0]
    assert tokenizer.decode_batch([[6, 0, 2]]) == ["<extra_id_0>a<extra_id_4>"]
