"""What the pipeline hands to training: NumPy arrays of the rows this process owns."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32


class Batch(NamedTuple):
    """Rows of tokens; a JAX pytree by being a named tuple.

    `weights` is 0 where the target would cross a document's end, and on padding. `segment_ids`
    count documents within a row from 1 (0 is padding); `positions` restart at each document.
    """

    tokens: Int32[np.ndarray, "B T"]
    targets: Int32[np.ndarray, "B T"]
    positions: Int32[np.ndarray, "B T"]
    segment_ids: Int32[np.ndarray, "B T"]
    weights: Float32[np.ndarray, "B T"]
