"""Rows of sources and targets: both sides framed and packed, nothing lost, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer as Fast
from tokenizers import models

from data.examples_config import TargetsConfig
from data.rows.targets import packed
from model.families.encoder_decoder_config import EncoderDecoderConfig
from tests.data.rows.records import csv, jsonl, opened

END = 256
PAIRS = [(f"{n}" * (1 + n % 4), f"{n}!" * (1 + n % 3)) for n in range(40)]


@pytest.fixture
def config(tmp_path: Path) -> TargetsConfig:
    lines = [{"source": source, "target": target} for source, target in PAIRS]
    return TargetsConfig(
        sources=(jsonl(tmp_path / "a.jsonl", *lines),),
        sequence_length=24,
        target_length=17,
        held_out=0.0,
        cache_dir=str(tmp_path / "cache"),
    )


def text(ids: np.ndarray) -> str:
    assert ids[-1] == END and (ids[:-1] < END).all()
    return bytes(ids[:-1].tolist()).decode()


def test_every_pair_comes_once_and_its_targets_follow_a_begin(config: TargetsConfig) -> None:
    rows: Any = opened(config)
    batch = rows.batch(np.arange(rows.num_rows))
    assert batch.sources.shape == (rows.num_rows, 24) and batch.tokens.shape == (rows.num_rows, 17)
    pairs = []
    for n in range(rows.num_rows):
        for segment in range(1, batch.segment_ids[n].max() + 1):
            read, own = batch.source_segments[n] == segment, batch.segment_ids[n] == segment
            for places, count in ((batch.source_positions, read), (batch.positions, own)):
                assert places[n][count].tolist() == list(range(count.sum()))
            assert batch.tokens[n][own].tolist() == [END, *batch.targets[n][own][:-1]]
            pairs.append((text(batch.sources[n][read]), text(batch.targets[n][own])))
    assert sorted(pairs) == sorted(PAIRS)
    np.testing.assert_array_equal(batch.weights, batch.segment_ids > 0)
    assert rows.num_rows < len(PAIRS) / 2
    assert rows.describe()[0].startswith(f"data: 40 pairs in {rows.num_rows} rows of 24 and 17 tok")


def test_pairs_of_rows_are_their_sources_and_right_texts(config: TargetsConfig) -> None:
    rows: Any = opened(dataclasses.replace(config, held_out=0.3), "held_out")
    batch = rows.batch(np.arange(2))
    pairs = rows.pairs(np.arange(2))
    assert len(pairs) == batch.segment_ids.max(1).sum()
    assert np.concatenate([ids for ids, _ in pairs]).tolist() == [
        *batch.sources[batch.source_segments > 0]
    ]
    targets = batch.targets[batch.segment_ids > 0]
    assert bytes(targets[targets != END].tolist()).decode() == "".join(each for _, each in pairs)


def test_a_row_is_the_same_in_any_batch(config: TargetsConfig) -> None:
    indices = np.arange(3, 30)
    whole = opened(config).batch(indices)
    parts = [opened(config).batch(indices[part]) for part in (slice(4), slice(4, None))]
    for both, first, last in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(both, np.concatenate([first, last]))
    assert opened(dataclasses.replace(config, target_length=18)).digest != opened(config).digest


def test_rows_past_the_end_do_not_count(config: TargetsConfig) -> None:
    rows: Any = opened(dataclasses.replace(config, held_out=0.3), "held_out")
    batch = rows.batch(np.arange(rows.num_rows + 2))
    assert (batch.weights[-2:] == 0).all() and (batch.weights[:-2].sum(1) > 0).all()
    assert "a.jsonl at the line" in rows.origin(0)


def test_every_target_begins_with_the_token_that_is_named(
    config: TargetsConfig, tmp_path: Path
) -> None:
    """T5's targets begin with <pad>, which no text ends with."""
    fast = Fast(models.WordLevel({"x": 0, "</s>": 1, "<pad>": 2}, unk_token="x"))
    fast.add_special_tokens(["</s>", "<pad>"])
    fast.save(str(path := tmp_path / "tokenizer.json"))
    rows: Any = opened(
        dataclasses.replace(config, tokenizer=str(path), begin_token="<pad>", end_token="</s>")
    )
    batch = rows.batch(np.arange(rows.num_rows))
    first = (batch.positions == 0) & (batch.segment_ids > 0)
    assert first.sum() == len(PAIRS) > rows.num_rows
    assert (batch.tokens[first] == 2).all() and (batch.tokens[batch.positions > 0] == 0).all()


def test_pairs_go_into_rows_that_have_room_on_both_sides() -> None:
    lengths = np.random.default_rng(0).integers(1, 10, (500, 2))
    rows = packed(lengths, (12, 15))
    assert sorted(n for row in rows for n in row) == list(range(500))
    assert all((lengths[row].sum(0) <= (12, 15)).all() for row in rows)
    assert len(rows) < 1.15 * max(lengths.sum(0) / (12, 15))


def test_what_does_not_fit_is_refused_or_cut(config: TargetsConfig, tmp_path: Path) -> None:
    short = dataclasses.replace(config, target_length=6)
    words = r"data\.target_length=6 must be at least 10, because the longest target .*line"
    with pytest.raises(ValueError, match=words):
        opened(short)
    rows: Any = opened(dataclasses.replace(short, too_long="cut"))
    targets = rows.batch(np.arange(rows.num_rows)).targets
    assert (targets[:, -1] == END).all()
    bad = csv(tmp_path / "bad.csv", "source,other", "a,b")
    with pytest.raises(ValueError, match="target"):
        opened(dataclasses.replace(config, sources=(bad,)))


@pytest.mark.parametrize("field", ["source", "target"])
def test_empty_texts_are_counted_and_named(
    config: TargetsConfig, field: str, tmp_path: Path
) -> None:
    lines = [{"source": "a", "target": "b"}, *[{"source": "c", "target": "d", field: " "}] * 2]
    bad = dataclasses.replace(config, sources=(jsonl(tmp_path / "bad.jsonl", *lines),))
    words = rf"field '{field}' must hold text, .* but 2 of 3 are empty: the first is .*bad\.jsonl"
    with pytest.raises(ValueError, match=words):
        opened(bad)


def test_a_model_must_have_places_for_the_targets(config: TargetsConfig) -> None:
    model = EncoderDecoderConfig(
        vocab_size=257,
        num_layers=1,
        embed_dim=8,
        num_heads=2,
        head_dim=4,
        mlp_dim=8,
        max_length=16,
    )
    rows = opened(config)
    with pytest.raises(ValueError, match=r"data\.target_length=17 must be at most .*length=16"):
        rows.check(model)
    rows.check(dataclasses.replace(model, max_length=17))
