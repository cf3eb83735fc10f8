"""Rows that are examples: labelled texts, tagged words, questions, pairs; and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.examples_config import AnswersConfig, LabelledConfig, PairsConfig, TaggedConfig
from tests.data.rows.records import csv, jsonl, opened

BEGIN = END = 256


@pytest.fixture
def labelled(tmp_path: Path) -> LabelledConfig:
    train = csv(tmp_path / "train.csv", "text,label", "good,up", "bad,down", "fine,up", "fair,up")
    test = csv(tmp_path / "test.csv", "text,label", "well,up", "ill,down")
    return LabelledConfig(
        sources=(train,),
        held_out_sources=(test,),
        sequence_length=8,
        cache_dir=str(tmp_path / "cache"),
    )


def test_a_text_is_framed_and_has_the_number_of_its_label(labelled: LabelledConfig) -> None:
    rows = opened(labelled)
    assert rows.labels == ("down", "up") and rows.num_rows == 4
    batch = rows.batch(np.arange(4))
    pairs = zip(batch.tokens, batch.targets, strict=True)
    texts = {bytes(row[row < 256].tolist()).decode(): target for row, target in pairs}
    assert texts == {"good": 1, "bad": 0, "fine": 1, "fair": 1}
    row = batch.tokens[int(np.argmax(batch.targets == 0))]
    assert row.tolist() == [BEGIN, *b"bad", END, END, END, END]
    assert batch.segment_ids.sum(1).tolist() == [5 if t == 0 else 6 for t in batch.targets]
    assert batch.token_types is None
    assert "labels: up 3, down 1" in rows.describe()


def test_official_splits_are_kept_and_padding_does_not_count(labelled: LabelledConfig) -> None:
    rows = opened(labelled, "held_out")
    batch = rows.batch(np.arange(4))
    assert rows.num_rows == 2 and batch.weights.tolist() == [1, 1, 0, 0]
    assert rows.origin(0).endswith(("test.csv at the row that ends in line 2", "line 3"))


def test_rare_labels_may_weigh_more(labelled: LabelledConfig) -> None:
    batch = opened(dataclasses.replace(labelled, balance=True)).batch(np.arange(4))
    weights = dict(zip(batch.targets.tolist(), batch.weights.tolist(), strict=True))
    assert weights == pytest.approx({0: 4 / 2, 1: 4 / 6})


def test_pairs_have_types_and_one_frame(tmp_path: Path) -> None:
    source = csv(tmp_path / "a.csv", "text,other,label", "ab,cd,x", "e,f,y")
    config = LabelledConfig(
        sources=(source,),
        pair_field="other",
        sequence_length=8,
        held_out=0.0,
        cache_dir=str(tmp_path),
    )
    batch = opened(config).batch(np.arange(2))
    row = int(np.argmax(batch.targets == 0))
    assert batch.tokens[row].tolist() == [BEGIN, *b"ab", END, *b"cd", END, END]
    assert batch.token_types[row].tolist() == [0, 0, 0, 0, 1, 1, 1, 0]


def test_several_labels_and_numbers(tmp_path: Path) -> None:
    source = jsonl(
        tmp_path / "a.jsonl",
        {"text": "a", "label": ["x", "z"], "score": 1.5},
        {"text": "b", "label": [], "score": -2},
    )
    config = LabelledConfig(
        sources=(source,),
        task="several",
        labels=("x", "y", "z"),
        sequence_length=8,
        held_out=0.0,
        cache_dir=str(tmp_path),
    )
    batch = opened(config).batch(np.arange(2))
    assert sorted(batch.targets.tolist()) == [[0, 0, 0], [1, 0, 1]]
    number = dataclasses.replace(config, task="number", labels=(), label_field="score")
    assert sorted(opened(number).batch(np.arange(2)).targets[:, 0].tolist()) == [-2, 1.5]


def test_tags_stand_at_the_first_token_of_each_word(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("ab B-X\nc O\n")
    config = TaggedConfig(
        sources=(f"conll:{path}",), sequence_length=10, held_out=0.0, cache_dir=str(tmp_path)
    )
    rows = opened(config)
    batch = rows.batch(np.arange(1))
    assert batch.tokens[0].tolist() == [BEGIN, *b"ab c", END, END, END, END, END]
    assert batch.weights[0].tolist() == [0, 1, 0, 1, 0, 0, 0, 0, 0, 0]
    assert [rows.tags[t] for t in batch.targets[0][[1, 3]]] == ["B-X", "O"]
    scores = np.zeros((1, 10, 2))
    scores[0, 1, rows.tags.index("B-X")] = scores[0, 3, rows.tags.index("O")] = 1
    assert rows.score(np.arange(1), scores)["entity_f1"] == 1.0


@pytest.mark.parametrize("kind", ["labels", "tags", "answers", "pairs"])
def test_a_row_is_the_same_in_any_batch_and_process(kind: str, tmp_path: Path) -> None:
    (tmp_path / "tags.txt").write_text("".join(f"{n} {'BO'[n % 2]}\n\n" for n in range(30)))
    answers = [
        {"question": "who?", "context": f"{n} is Ann", "answers": ["Ann"]} for n in range(30)
    ]
    common: dict[str, Any] = {"held_out": 0.0, "cache_dir": str(tmp_path / "cache"), "seed": 5}
    lines = [f"{n},{n % 2}" for n in range(30)]
    config = {
        "labels": lambda: LabelledConfig(
            sources=(csv(tmp_path / "labels.csv", "text,label", *lines),), **common
        ),
        "tags": lambda: TaggedConfig(sources=(f"conll:{tmp_path}/tags.txt",), **common),
        "answers": lambda: AnswersConfig(
            sources=(jsonl(tmp_path / "answers.jsonl", *answers),), **common
        ),
        "pairs": lambda: PairsConfig(
            sources=(csv(tmp_path / "pairs.csv", "text,pair", *lines),), **common
        ),
    }[kind]()
    indices = np.arange(20, 70)
    whole = opened(config).batch(indices)
    parts = [opened(config).batch(indices[part]) for part in (slice(7), slice(7, None))]
    for both, first, last in zip(whole, *parts, strict=True):
        if both is not None:
            np.testing.assert_array_equal(both, np.concatenate([first, last]))
    assert len({row.tobytes() for row in whole.tokens[:30]}) > 15


def test_pairs_for_embeddings(tmp_path: Path) -> None:
    source = csv(tmp_path / "a.csv", "text,pair", "ab,c", "d,efg")
    config = PairsConfig(
        sources=(source,), sequence_length=6, held_out=0.0, cache_dir=str(tmp_path)
    )
    batch = opened(config).batch(np.arange(2))
    lengths = set(
        zip(batch.segment_ids.sum(1).tolist(), batch.other_segments.sum(1).tolist(), strict=True)
    )
    assert lengths == {(4, 3), (3, 5)}


def test_a_split_by_hash_is_the_same_each_time(tmp_path: Path) -> None:
    lines = [f"text {n},{'ab'[n % 2]}" for n in range(200)]
    source = csv(tmp_path / "a.csv", "text,label", *lines)
    config = LabelledConfig(sources=(source,), held_out=0.3, cache_dir=str(tmp_path / "cache"))
    train, held_out = opened(config), opened(config, "held_out")
    assert train.num_rows + held_out.num_rows == 200 and 40 < held_out.num_rows < 80
    assert opened(config).digest == train.digest
    assert opened(dataclasses.replace(config, held_out=0.2)).digest != train.digest


@pytest.mark.parametrize("labels", [(), ("down", "up", "sideways")])
def test_a_label_that_is_never_learnt_is_refused(
    tmp_path: Path, labelled: LabelledConfig, labels: tuple[str, ...]
) -> None:
    other = csv(tmp_path / "other.csv", "text,label", "well,up", "so,sideways")
    config = dataclasses.replace(labelled, held_out_sources=(other,), labels=labels)
    message = (
        r"label 'sideways' in .*other\.csv at the row that ends in line 3 must be one of .*down"
    )
    with pytest.raises(ValueError, match=message):
        opened(config, "held_out")


@pytest.mark.parametrize(
    ("changes", "lines", "message"),
    [
        ({}, ["a,x", "b,x"], r"at least 2 labels.*all 2 training examples.*have 'x'"),
        ({}, ["a,x", "b,"], r"must hold the label of every example.*line 3 it is ''"),
        ({"labels": ("x", "y")}, ["a,x", "b,z"], r"label 'z' in .*line 3 must be one of x, y"),
        ({"task": "number"}, ["a,1", "b,high"], r"a number in every.*line 3 it is 'high'"),
        ({"label_field": "mark"}, ["a,x"], r"'text' and 'mark' among them, but it is"),
        (
            {"sequence_length": 8},
            ["a,x", "a long text,y"],
            r"sequence_length=8 must be at least 13.*1 of 2 are longer.*line 3.*--data.too-long",
        ),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused_with_their_place(
    tmp_path: Path, changes: dict, lines: list[str], message: str
) -> None:
    source = csv(tmp_path / "a.csv", "text,label", *lines)
    config = LabelledConfig(sources=(source,), held_out=0.0, cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=message):
        opened(dataclasses.replace(config, **changes))


def test_texts_that_are_cut_are_counted_and_named(tmp_path: Path) -> None:
    source = csv(tmp_path / "a.csv", "text,label", "a,x", "a long text,y")
    config = LabelledConfig(
        sources=(source,), sequence_length=8, too_long="cut", held_out=0.0, cache_dir=str(tmp_path)
    )
    lines: list[str] = []
    batch = opened(config, report=lines.append).batch(np.arange(2))
    assert any(
        "1 of 2 examples are longer than 8 tokens and cut, the first" in line for line in lines
    )
    assert sorted(batch.segment_ids.sum(1).tolist()) == [3, 8]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"words": ["a", "b"], "tags": ["O"]}, "2 words in .* must have as many tags.*there are 1"),
        ({"words": "a b", "tags": ["O", "X"]}, "field 'words' must be a list of texts"),
        ({"words": ["a"], "tags": ["O"]}, r"at least 2 tags.*all words have O"),
    ],
)
def test_tags_that_do_not_fit_are_refused(tmp_path: Path, record: dict, message: str) -> None:
    source = jsonl(tmp_path / "a.jsonl", record)
    config = TaggedConfig(sources=(source,), held_out=0.0, cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=message):
        opened(config)


def test_plain_text_has_no_fields(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    config = LabelledConfig(sources=(f"text:{tmp_path}/a.txt",), cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"must hold records, because text and label are fields"):
        opened(config)
