"""The numbers of an evaluation: ratios of sums over all its batches."""

import math
from collections.abc import Callable, Mapping

from data.batch import TokenRows
from train.objective import Sums


def of_tokens(sums: Sums, counts: Mapping[str, int]) -> dict[str, float]:
    """Perplexity, and bits per byte of the text that the targets stand for, if there is any: the
    sum of all losses, those of the ends of documents among them, over these bytes."""
    perplexity = {"eval_perplexity": math.exp(min(float(sums.loss / sums.weight), 700.0))}
    targets = {"eval_targets": float(sums.weight)}
    size = counts.get("text_bytes", 0)
    bits = {"eval_bits_per_byte": float(sums.loss) / math.log(2) / size} if size else {}
    return perplexity | targets | bits


def of_others(sums: Sums, counts: Mapping[str, int]) -> dict[str, float]:
    """The weight of all targets, and the mean of each further sum that the objective returns."""
    means = {f"eval_{name}": float(total / sums.weight) for name, total in sums.others.items()}
    return {"eval_targets": float(sums.weight)} | means


MEASURES: Mapping[type, Callable[[Sums, Mapping[str, int]], dict[str, float]]] = {
    TokenRows: of_tokens
}


def measures(kind: type, sums: Sums, counts: Mapping[str, int]) -> dict[str, float]:
    """`eval_loss`, nats a target for a cross entropy, and the other measures of the kind.

    `sums` and `counts` (of `Rows.counts`) are those of all batches, of that kind, together; the
    weight must not be 0.
    """
    more = MEASURES.get(kind, of_others)
    return {"eval_loss": float(sums.loss / sums.weight)} | more(sums, counts)
