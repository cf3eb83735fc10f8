"""Measures against figures worked out by hand or by the tools that define them."""

import numpy as np
import pytest

from data.scores import (
    Entity,
    confusion,
    entities,
    of_answers,
    of_label_sets,
    of_labels,
    of_numbers,
    of_pairs,
    of_tags,
)


def test_labels() -> None:
    predicted, targets = np.array([0, 0, 1, 2, 2, 1]), np.array([0, 1, 1, 2, 0, 1])
    table = confusion(predicted, targets, 4)
    assert table.tolist() == [[1, 0, 1, 0], [1, 2, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    actual = of_labels(predicted, targets, 4)
    assert actual["accuracy"] == pytest.approx(4 / 6)
    # F1 of each label: 1/2, 4/5, 2/3; the fourth never comes.
    assert actual["macro_f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3)


def test_label_sets() -> None:
    predicted = np.array([[1, 1, 0], [0, 0, 1]], bool)
    targets = np.array([[1, 0, 0], [0, 0, 1]], bool)
    assert of_label_sets(predicted, targets) == {"micro_f1": 4 / 5, "exact": 0.5}


def test_numbers() -> None:
    targets = np.array([1.0, 2.0, 3.0, 4.0])
    actual = of_numbers(np.array([1.0, 2.0, 3.0, 8.0]), targets)
    assert actual["rmse"] == 2.0
    assert actual["spearman"] == pytest.approx(1.0)
    assert actual["pearson"] == pytest.approx(np.corrcoef([1, 2, 3, 8], targets)[0, 1])
    assert of_numbers(np.ones(4), targets)["pearson"] == 0.0


@pytest.mark.parametrize(
    ("tags", "wanted"),
    [
        ("O O", []),
        ("B-PER I-PER O", [Entity("PER", 0, 2)]),
        ("B-PER B-PER", [Entity("PER", 0, 1), Entity("PER", 1, 2)]),
        ("I-PER I-LOC", [Entity("PER", 0, 1), Entity("LOC", 1, 2)]),
        ("B-PER O I-PER", [Entity("PER", 0, 1), Entity("PER", 2, 3)]),
        ("B-geo-loc I-geo-loc", [Entity("geo-loc", 0, 2)]),
    ],
)
def test_entities_are_those_of_conlleval(tags: str, wanted: list[Entity]) -> None:
    assert entities(tags.split()) == wanted


# What seqeval 1.2.2 says of the same sentences: precision, recall, F1 and accuracy.
SEQEVAL = [
    ("B-A I-A O B-B", "B-A I-A O B-B", 1.0, 1.0, 1.0, 1.0),
    ("B-A O O B-B", "B-A I-A O B-B", 0.5, 0.5, 0.5, 0.75),
    ("O O O O", "B-A I-A O B-B", 0.0, 0.0, 0.0, 0.25),
    ("B-A B-A O B-B I-B", "B-A I-A O B-B O", 0.0, 0.0, 0.0, 0.6),
    ("B-A I-A B-B O B-C", "B-A I-A O O B-C", 2 / 3, 1.0, 0.8, 0.8),
]


@pytest.mark.parametrize(("said", "right", "precision", "recall", "f1", "accuracy"), SEQEVAL)
def test_tags_are_judged_as_by_seqeval(
    said: str, right: str, precision: float, recall: float, f1: float, accuracy: float
) -> None:
    actual = of_tags([said.split()], [right.split()])
    assert actual["entity_precision"] == pytest.approx(precision)
    assert actual["entity_recall"] == pytest.approx(recall)
    assert actual["entity_f1"] == pytest.approx(f1)
    assert actual["accuracy"] == pytest.approx(accuracy)


def test_parts_of_speech_have_an_accuracy_alone() -> None:
    assert of_tags([["NN", "VB"]], [["NN", "NN"]]) == {"accuracy": 0.5}


def test_answers_are_judged_as_by_squad() -> None:
    said = ["The Normans", "in 1066", "", "nothing"]
    right = [["Normans", "the Vikings"], ["1066 A.D."], [], []]
    actual = of_answers(said, right)
    # Articles and case do not count; one of two words is right; no answer is right, then wrong.
    assert actual["exact_match"] == pytest.approx(100 * (1 + 0 + 1 + 0) / 4)
    assert actual["answer_f1"] == pytest.approx(100 * (1 + 0.5 + 1 + 0) / 4)


def test_pairs() -> None:
    first = np.eye(3)
    second = np.array([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8], [0.0, 0.9, 0.1]])
    actual = of_pairs(first, second)
    assert actual["nearest"] == pytest.approx(1 / 3)
    assert actual["reciprocal_rank"] == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
