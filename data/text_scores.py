"""Measures of written texts next to the right ones, in percent: exact match, BLEU, chrF, ROUGE."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import UserError


def of_exact(said: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """Share of texts that are the right ones, blanks between words counted alike."""
    same = [text.split() == wanted.split() for text, wanted in zip(said, right, strict=True)]
    return {"exact_match": 100 * float(np.mean(same))}


def of_bleu(said: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """BLEU of the corpus by sacrebleu, with its 13a tokens (Papineni et al. 2002, Post 2018)."""
    return {"bleu": _sacrebleu().corpus_bleu(list(said), [list(right)]).score}


def of_chrf(said: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """chrF2 of the corpus by sacrebleu (Popovic 2015)."""
    return {"chrf": _sacrebleu().corpus_chrf(list(said), [list(right)]).score}


def of_rouge(said: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """F1 of single words, of pairs, and of the longest common subsequence of words, averaged over
    the texts (Lin 2004); words are letters and digits of English in lower case, not stemmed."""
    pairs = [(_words(text), _words(wanted)) for text, wanted in zip(said, right, strict=True)]
    scores = {
        "rouge1": [_overlap(text, wanted, 1) for text, wanted in pairs],
        "rouge2": [_overlap(text, wanted, 2) for text, wanted in pairs],
        "rouge_l": [_f1(_common(*pair), *map(len, pair)) for pair in pairs],
    }
    return {name: 100 * float(np.mean(each)) for name, each in scores.items()}


MEASURES: Mapping[str, Callable[[Sequence[str], Sequence[str]], dict[str, float]]] = {
    "exact": of_exact,
    "bleu": of_bleu,
    "chrf": of_chrf,
    "rouge": of_rouge,
}
"""Measures of all texts, the written ones first."""


def of_texts(names: Sequence[str], said: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """The measures of these names of `MEASURES`."""
    return {name: value for each in names for name, value in MEASURES[each](said, right).items()}


def require_measures(names: Sequence[str]) -> None:
    """Raise ValueError if the package that a measure needs is not installed."""
    if {"bleu", "chrf"} & set(names):
        _sacrebleu()


def _sacrebleu() -> Any:
    try:
        import sacrebleu
    except ImportError as error:
        raise UserError(
            "measures=bleu and chrf must come with the package sacrebleu, because their numbers are"
            " those of its tokens; try: pip install 'meshloom[text-metrics]', or --measures exact"
        ) from error
    return sacrebleu


def _words(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


def _overlap(said: list[str], right: list[str], n: int) -> float:
    grams = [Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (said, right)]
    return _f1((grams[0] & grams[1]).total(), *(each.total() for each in grams))


def _f1(both: int, said: int, right: int) -> float:
    return 2 * both / (said + right) if said and right else 0.0


def _common(said: list[str], right: list[str]) -> int:
    """Words of the longest common subsequence."""
    row = [0] * (len(right) + 1)
    for word in said:
        before = row[:]
        for place, other in enumerate(right):
            longer = before[place] + 1 if word == other else max(before[place + 1], row[place])
            row[place + 1] = longer
    return row[-1]
