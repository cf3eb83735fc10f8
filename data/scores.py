"""Measures of predictions next to what was right: of labels, numbers, entities."""

import string
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


def confusion(predicted: np.ndarray, targets: np.ndarray, count: int) -> np.ndarray:
    """How often each label, by row, was predicted as each, by column, [C, C]."""
    pairs = np.bincount(targets * count + predicted, minlength=count * count)
    return pairs.reshape(count, count)


def of_labels(predicted: np.ndarray, targets: np.ndarray, count: int) -> dict[str, float]:
    """Accuracy, and F1 of each label averaged over those that come or are predicted (macro F1)."""
    table = confusion(predicted, targets, count)
    right, total = np.diag(table), table.sum(0) + table.sum(1)
    each = 2 * right[total > 0] / total[total > 0]
    return {"accuracy": float(right.sum() / table.sum()), "macro_f1": float(each.mean())}


def of_classes(scores: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Accuracy, macro F1, and, of more than 5 labels, how often the right one is among the 5 of the
    highest scores [n, C] (top-5); scores that equal the right one's count as higher."""
    count = scores.shape[-1]
    measures = of_labels(np.argmax(scores, axis=-1), targets, count)
    if count > 5:
        right = np.take_along_axis(scores, targets[:, None], axis=-1)
        place = np.sum(scores >= right, axis=-1)
        measures["top_5_accuracy"] = float(np.mean(place <= 5))
    return measures


def of_segments(table: np.ndarray) -> dict[str, float]:
    """Accuracy of places, and their intersection over union averaged over the classes that come or
    are predicted (mean IoU), of counts [C, C]."""
    right, total = np.diag(table), table.sum(0) + table.sum(1)
    each = right[total > 0] / (total - right)[total > 0]
    return {"accuracy": float(right.sum() / table.sum()), "mean_iou": float(each.mean())}


def of_label_sets(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """F1 over all labels of all texts (micro F1), and the share of texts with exactly the right
    ones; of bools [n, C]."""
    both, total = (predicted & targets).sum(), predicted.sum() + targets.sum()
    exact = np.all(predicted == targets, axis=1).mean()
    return {"micro_f1": float(2 * both / total) if total else 1.0, "exact": float(exact)}


def of_numbers(predicted: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Root of the mean squared error, and the correlations of Pearson and Spearman, 0 where one of
    the two does not vary."""
    from scipy.stats import pearsonr, spearmanr

    error = float(np.sqrt(np.mean(np.square(predicted - targets))))
    if len(targets) < 2 or np.ptp(predicted) == 0 or np.ptp(targets) == 0:
        return {"rmse": error, "pearson": 0.0, "spearman": 0.0}
    related: Any = [test(predicted, targets) for test in (pearsonr, spearmanr)]
    pearson, spearman = (float(each.statistic) for each in related)
    return {"rmse": error, "pearson": pearson, "spearman": spearman}


def of_answers(said: Sequence[str], right: Sequence[Sequence[str]]) -> dict[str, float]:
    """Exact match and F1 of words as SQuAD defines them (Rajpurkar et al. 2016, 2018), in percent:
    of the best of each question's right answers; none is the empty text."""
    pairs = [(text, list(wanted) or [""]) for text, wanted in zip(said, right, strict=True)]
    exact = [max(plain(text) == plain(each) for each in wanted) for text, wanted in pairs]
    overlaps = [
        max(_overlap(plain(text), plain(each)) for each in wanted) for text, wanted in pairs
    ]
    return {"exact_match": 100 * float(np.mean(exact)), "answer_f1": 100 * float(np.mean(overlaps))}


def plain(text: str) -> list[str]:
    """Words of an answer without case, punctuation and articles."""
    letters = "".join(c for c in text.lower() if c not in string.punctuation)
    return [word for word in letters.split() if word not in ("a", "an", "the")]


def _overlap(said: list[str], right: list[str]) -> float:
    if not said or not right:
        return float(said == right)
    both = (Counter(said) & Counter(right)).total()
    return 2 * both / (len(said) + len(right))


def of_pairs(first: np.ndarray, second: np.ndarray) -> dict[str, float]:
    """Of unit vectors [n, D] each, how often the second of a pair is nearest to its first, and the
    mean of 1 over its place among all (mean reciprocal rank)."""
    similar = first @ second.T
    own = np.diag(similar)[:, None]
    place = 1 + (similar > own).sum(1) + ((similar == own).sum(1) - 1)
    return {"nearest": float((place == 1).mean()), "reciprocal_rank": float((1 / place).mean())}


class Entity(NamedTuple):
    """Neighbouring words of one kind, from `first` up to `after`."""

    kind: str
    first: int
    after: int


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of tags `B-kind`, `I-kind`, `O`, as conlleval reads them: an I after another
    kind, or after O, begins one too."""
    spans: list[Entity] = []
    for place, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix not in ("B", "I") or not kind:
            continue
        last = spans[-1] if spans else None
        if prefix == "I" and last is not None and (last.kind, last.after) == (kind, place):
            spans[-1] = last._replace(after=place + 1)
        else:
            spans.append(Entity(kind, place, place + 1))
    return spans


def of_tags(
    predicted: Sequence[Sequence[str]], targets: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Accuracy of words; where tags mark entities, also precision, recall and F1 of whole entities
    (Tjong Kim Sang & De Meulder 2003)."""
    pairs = [
        (a, b)
        for row, wanted in zip(predicted, targets, strict=True)
        for a, b in zip(row, wanted, strict=True)
    ]
    measures = {"accuracy": sum(a == b for a, b in pairs) / len(pairs)}
    said, true = (
        {(row, entity) for row, tags in enumerate(rows) for entity in entities(tags)}
        for rows in (predicted, targets)
    )
    if not true:
        return measures
    right = len(said & true)
    return measures | {
        "entity_precision": right / len(said) if said else 0.0,
        "entity_recall": right / len(true),
        "entity_f1": 2 * right / (len(said) + len(true)),
    }
