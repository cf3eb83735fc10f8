"""Sums over held-out rows: the same on any mesh and number of processes."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from data.batch import Batch
from data.errors import UserError
from train.feed import to_global
from train.measures import measures
from train.objective import Sums


def evaluate(
    model: Any,
    batches: Iterator[tuple[Batch, Mapping[str, int]]],
    eval_step: Callable[[Any, Batch], Sums],
    *,
    rows: np.ndarray,
    batch_size: int,
    score: Callable[[Any], Mapping[str, float]] = lambda outputs: {},
) -> dict[str, float]:
    """The `train.measures` of the sums over `batches`, which are of one kind.

    With each batch comes what the host counts of the rows of this process; `rows` are the batch's
    rows it reads. `score` measures what the model says of each row of all batches, in order, if its
    objective keeps that. ValueError if no target has a weight.
    """
    kind, sums, counts, outputs = object, [], Counter(), []
    for batch, counted in batches:
        kind = type(batch)
        counts.update(counted)
        judged = eval_step(model, to_global(batch, rows, batch_size))
        if judged.outputs is not None:
            outputs.append(whole(judged.outputs))
        sums.append(judged._replace(outputs=None))
    total = jax.tree.map(lambda *column: math.fsum(column), *jax.device_get(sums)) if sums else None
    if total is None or not total.weight:
        raise UserError(
            "held-out rows=0 must be at least 1, because the loss is a mean over them; "
            "try a larger share of held-out data, shorter rows, or --train.eval-batches 0"
        )
    values = measures(kind, total, {name: _over_processes(counts[name]) for name in sorted(counts)})
    if not outputs:
        return values
    scores = score(jax.tree.map(lambda *parts: np.concatenate(parts), *outputs))
    return values | {f"eval_{name}": value for name, value in scores.items()}


def whole(outputs: Any) -> Any:
    """The arrays of all processes, on each."""
    if jax.process_count() == 1:
        return jax.device_get(outputs)
    return multihost_utils.process_allgather(outputs, tiled=True)


def _over_processes(count: int) -> int:
    """The sum of every process's count."""
    # Of bytes, as JAX's own integers have 32 bits.
    own = np.frombuffer(count.to_bytes(8, "little"), np.uint8)
    counts = multihost_utils.process_allgather(own).reshape(-1, 8)
    return sum(int.from_bytes(bytes(each), "little") for each in counts)
