"""Which rows there are: those of training and held-out ones, of each source, seed and setting."""

from dataclasses import replace

import numpy as np
import pytest

from data.batch import TokenRows
from data.config import DataConfig
from data.rows.tokens import TokenWindows
from tests.data.rows.token_windows import T, documents_in, quietly, stream_of


def documents_of(rows: TokenWindows) -> set[str]:
    return set(documents_in(rows, stream_of(rows)[1]))


def test_held_out_documents_are_never_trained_on(config: DataConfig, rows: TokenWindows) -> None:
    evaluated = quietly(config, "held_out")
    assert rows.num_documents + evaluated.num_documents == 120 and evaluated.num_documents > 5
    assert evaluated.digest == rows.digest
    names = [{text.split(">")[0] for text in documents_of(r) if text} for r in (rows, evaluated)]
    assert len(names[1]) > 5 and not names[0] & names[1]


def test_held_out_rows_come_once_and_are_filled_up(config: DataConfig) -> None:
    evaluated = quietly(config, "held_out")
    size = evaluated.num_rows - 3
    batches = list(evaluated.batches(0, size, np.arange(size)))
    assert len(batches) == 2
    last = batches[1]
    assert last.segment_ids is not None
    assert (last.weights[3:] == 0).all() and (last.segment_ids[3:] == 0).all()
    assert (last.segment_ids[:3] > 0).all()
    joined = np.concatenate([b.tokens for b in batches])[: evaluated.num_rows]
    order = evaluated.examples(np.arange(evaluated.num_rows)).tolist()
    assert order != sorted(order) and sorted(order) == list(range(evaluated.num_rows))
    later: TokenRows = next(evaluated.batches(2, 4, np.arange(4)))
    np.testing.assert_array_equal(later.tokens, joined[2:6])
    assert list(evaluated.batches(evaluated.num_rows, size, np.arange(size))) == []
    mine = np.array([size - 1])
    assert [b.weights.sum() > 0 for b in evaluated.batches(0, size, mine)] == [True, False]


def test_held_out_rows_are_not_mixed_by_weight(mixed: DataConfig) -> None:
    evaluated = quietly(replace(mixed, weights=(1.0, 9.0)), "held_out")
    examples = evaluated.examples(np.arange(evaluated.num_rows))
    assert sorted(examples) == list(range(evaluated.num_rows))


@pytest.mark.parametrize("weights", [(0.7, 0.3), (1.0, 9.0)])
def test_mixtures_hit_their_weights(mixed: DataConfig, weights: tuple[float, ...]) -> None:
    both = quietly(replace(mixed, weights=weights))
    alone = [quietly(replace(mixed, sources=(source,))).num_rows for source in mixed.sources]
    assert both.num_rows == sum(alone)
    count = 20 * both.num_rows
    ids = both.examples(np.arange(count))
    assert np.mean(ids < alone[0]) == pytest.approx(weights[0] / sum(weights), abs=0.01)
    for low, high in ((0, alone[0]), (alone[0], both.num_rows)):
        mine = ids[(ids >= low) & (ids < high)]
        for epoch in range(len(mine) // (high - low)):
            part = mine[epoch * (high - low) : (epoch + 1) * (high - low)]
            assert sorted(part) == list(range(low, high))


def test_without_weights_all_sources_make_an_epoch(mixed: DataConfig) -> None:
    both = quietly(mixed)
    ids = both.examples(np.arange(both.num_rows))
    assert sorted(ids) == list(range(both.num_rows))
    texts = {both.origin(i).rpartition("/")[2].split()[0] for i in range(60)}
    assert texts == {"a.jsonl", "b.jsonl"}


def test_the_digest_covers_every_setting(
    config: DataConfig, mixed: DataConfig, vocabularies: list[str]
) -> None:
    configs = [
        config,
        mixed,
        replace(mixed, weights=(1.0, 1.0)),
        replace(mixed, weights=(1.0, 2.0)),
        replace(config, sequence_length=T + 1),
        replace(config, packing=False),
        replace(config, held_out=0.3),
        replace(config, seed=1),
        replace(config, tokenizer=vocabularies[1]),
        replace(config, tokenizer=vocabularies[1], begin_token="</s>"),
        replace(config, tokenizer=vocabularies[1], end_token="<s>"),
    ]
    digests = [quietly(c).digest for c in configs]
    assert len(set(digests)) == len(configs)


def test_near_seeds_share_no_epoch(config: DataConfig) -> None:
    def epoch(seed: int, number: int) -> tuple[int, ...]:
        rows = quietly(replace(config, seed=seed))
        return tuple(rows.examples(np.arange(rows.num_rows) + number * rows.num_rows))

    assert len({epoch(seed, number) for seed in range(3) for number in range(3)}) == 9
