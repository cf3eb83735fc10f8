"""Tokens to measure with."""

import numpy as np

from data.batch import TokenRows


def random_batch(rows: int, length: int, vocabulary: int, *, packed: bool = False) -> TokenRows:
    """Uniform tokens, every target counted, one document a row; only `packed` rows say so."""
    windows = np.random.default_rng(0).integers(0, vocabulary, (rows, length + 1), np.int32)
    shape = (rows, length)
    positions = np.tile(np.arange(length, dtype=np.int32), (rows, 1))
    return TokenRows(
        tokens=windows[:, :-1],
        targets=windows[:, 1:],
        positions=positions if packed else None,
        segment_ids=np.ones(shape, np.int32) if packed else None,
        weights=np.ones(shape, np.float32),
    )
