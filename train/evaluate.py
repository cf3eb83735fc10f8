"""Loss over held-out rows: weighted by target, the same on any mesh and number of processes."""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from data.batch import Batch
from model.families.decoder import Decoder
from train.feed import to_global
from train.step import Sums


def evaluate(
    model: Decoder,
    batches: Iterator[tuple[Batch, int]],
    eval_step: Callable[[Decoder, Batch], Sums],
    *,
    rows: np.ndarray,
    batch_size: int,
) -> dict[str, float]:
    """Mean cross entropy (nats a target), perplexity and bits per byte of text over `batches`.

    With each batch come the bytes of text that its targets on this process stand for; `rows` are
    the batch's rows this process reads. Bits per byte are the sum of all losses, those of the ends
    of documents among them, over these bytes; left out where there are none.
    """
    sums, size = [], 0
    for batch, text_bytes in batches:
        size += text_bytes
        sums.append(eval_step(model, to_global(batch, rows, batch_size)))
    nll, targets = (math.fsum(column) for column in zip(*jax.device_get(sums), strict=True))
    if not targets:
        raise ValueError(
            "held-out rows=0 must be at least 1, because the loss is a mean over them; "
            "try a larger --data.held-out or a shorter --data.sequence-length"
        )
    loss = nll / targets
    return {
        "eval_loss": loss,
        "eval_perplexity": math.exp(min(loss, 700.0)),
        "eval_targets": targets,
    } | (
        {"eval_bits_per_byte": nll / math.log(2) / size} if (size := _over_processes(size)) else {}
    )


def _over_processes(count: int) -> int:
    """The sum of every process's count."""
    # Of bytes, as JAX's own integers have 32 bits.
    own = np.frombuffer(count.to_bytes(8, "little"), np.uint8)
    counts = multihost_utils.process_allgather(own).reshape(-1, 8)
    return sum(int.from_bytes(bytes(each), "little") for each in counts)
