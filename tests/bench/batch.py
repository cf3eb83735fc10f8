"""Tokens to measure with."""

import numpy as np

from data.batch import MaskedRows, TokenRows


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


def masked_batch(rows: int, length: int, vocabulary: int, scored: int) -> MaskedRows:
    """The same rows, packed, of which the tokens at `scored` places of each are predicted."""
    batch = random_batch(rows, length, vocabulary, packed=True)
    places = np.tile(np.linspace(0, length - 1, scored).astype(np.int32), (rows, 1))
    return MaskedRows(
        tokens=batch.tokens,
        targets=np.take_along_axis(batch.tokens, places, 1),
        places=places,
        positions=batch.positions,
        segment_ids=batch.segment_ids,
        weights=np.ones(places.shape, np.float32),
    )
