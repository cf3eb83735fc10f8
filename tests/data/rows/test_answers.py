"""Rows of questions and contexts: where answers stand, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from data.examples_config import AnswersConfig
from data.rows.predictor import Example
from tests.data.rows.records import jsonl, opened


def test_answers_are_found_by_their_place_in_every_window(tmp_path: Path) -> None:
    context = "Ann saw Bob. Then Cid saw Dan."
    source = jsonl(
        tmp_path / "a.jsonl",
        {"question": "who?", "context": context, "answers": [{"text": "Cid", "start": 18}]},
        {"question": "why?", "context": context, "answers": []},
    )
    config = AnswersConfig(
        sources=(source,), sequence_length=24, overlap=6, held_out=0.0, cache_dir=str(tmp_path)
    )
    rows = opened(config)
    batch = rows.batch(np.arange(rows.num_rows))
    said = []
    for row, (first, last) in zip(batch.tokens, batch.targets, strict=True):
        said.append(bytes(row[first : last + 1].tolist()).decode() if first else "")
        assert first == 0 or batch.places[len(said) - 1, first] == 1
    assert said.count("Cid") >= 1 and set(said) == {"Cid", ""}
    perfect = np.full((*batch.tokens.shape, 2), -5.0)
    for row, (first, last) in enumerate(batch.targets):
        perfect[row, first, 0] = perfect[row, last, 1] = 9 if first else 1
    assert rows.score(np.arange(rows.num_rows), perfect) == {"exact_match": 100, "answer_f1": 100}
    assert len(rows.show(np.arange(rows.num_rows), perfect)) == 2


def test_a_row_with_a_part_of_an_answer_has_none(tmp_path: Path) -> None:
    source = jsonl(
        tmp_path / "a.jsonl",
        {
            "question": "who?",
            "context": "Ann saw Bob. Then Cid saw Dan.",
            "answers": ["Cid saw Dan"],
        },
    )
    config = AnswersConfig(
        sources=(source,), sequence_length=24, overlap=6, held_out=0.0, cache_dir=str(tmp_path)
    )
    rows = opened(config)
    batch = rows.batch(np.arange(rows.num_rows))
    held = [bytes(row[row < 256].tolist()) for row in batch.tokens]
    assert len(held) == 3 and any(b"Cid saw Da" in row for row in held)
    assert not any(b"Cid saw Dan" in row for row in held)
    assert not batch.targets.any()


def test_an_answer_has_no_space_around_it(tmp_path: Path) -> None:
    """Tokens of many vocabularies begin with the space before their word."""
    source = jsonl(
        tmp_path / "a.jsonl", {"question": "who?", "context": "Ann saw Bob.", "answers": ["Bob"]}
    )
    config = AnswersConfig(
        sources=(source,), sequence_length=24, overlap=6, held_out=0.0, cache_dir=str(tmp_path)
    )
    predictor = config.open_predictor(config.load_tokenizer(), {"unanswered": False})
    asked = [Example({"question": "who?", "context": "Ann saw Bob."}, "text 1")]
    assert predictor is not None
    row = predictor.batch(asked, lambda line: None).tokens[0].tolist()
    scores = np.full((1, 24, 2), -5.0)
    scores[0, row.index(ord("B")) - 1, 0] = scores[0, row.index(ord(".")) - 1, 1] = 5
    (answer,) = predictor.answers(asked, scores)
    assert (answer["answer"], answer["first"], answer["after"]) == ("Bob", 8, 11)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (["Eve"], r"answer 'Eve' in .* must stand in its context of 7 characters.*not anywhere"),
        ([{"text": "Bob", "start": 5}], r"does not from character 5"),
        ([{"text": "Bob is", "start": 4}], r"must stand in its context of 7 characters"),
        ([3], r"must hold texts, or \{text, start\}"),
    ],
)
def test_answers_that_are_not_there_are_refused(
    tmp_path: Path, answers: list, message: str
) -> None:
    source = jsonl(
        tmp_path / "a.jsonl", {"question": "who?", "context": "Ann Bob", "answers": answers}
    )
    config = AnswersConfig(sources=(source,), held_out=0.0, cache_dir=str(tmp_path / "cache"))
    with pytest.raises(ValueError, match=message):
        opened(config)


def test_a_question_that_leaves_no_room_is_refused(tmp_path: Path) -> None:
    source = jsonl(
        tmp_path / "a.jsonl", {"question": "who?", "context": "Ann " * 9, "answers": ["Ann"]}
    )
    config = AnswersConfig(
        sources=(source,), sequence_length=16, overlap=12, held_out=0.0, cache_dir=str(tmp_path)
    )
    with pytest.raises(
        ValueError, match=r"sequence_length=16 must be at least 20.*--data\.overlap"
    ):
        opened(config)
