"""Loss over held-out rows: weighted by target, the same on any mesh and number of processes."""

import math
from collections.abc import Callable, Iterator

import jax
import numpy as np

from data.batch import Batch
from model.transformer import Transformer
from train.feed import to_global
from train.step import Sums


def evaluate(
    model: Transformer,
    batches: Iterator[Batch],
    eval_step: Callable[[Transformer, Batch], Sums],
    *,
    rows: np.ndarray,
    batch_size: int,
    bytes_per_token: float,
) -> dict[str, float]:
    """Mean cross entropy (nats a target), perplexity and bits per byte of text over `batches`.

    `rows` are the batch's rows this process reads. Bits per byte spread a token's loss over the
    `bytes_per_token` the tokenizer makes of the held-out text.
    """
    sums = [eval_step(model, to_global(batch, rows, batch_size)) for batch in batches]
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
        "eval_bits_per_byte": loss / math.log(2) / bytes_per_token,
        "eval_targets": targets,
    }
