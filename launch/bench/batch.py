"""Tokens to measure with."""

import numpy as np

from data.batch import Batch


def random_batch(rows: int, length: int, vocabulary: int) -> Batch:
    """Uniform tokens, every target counted, one document a row."""
    windows = np.random.default_rng(0).integers(0, vocabulary, (rows, length + 1), np.int32)
    shape = (rows, length)
    return Batch(
        tokens=windows[:, :-1],
        targets=windows[:, 1:],
        positions=np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
        segment_ids=np.ones(shape, np.int32),
        weights=np.ones(shape, np.float32),
    )
