"""What the pipeline hands to training: NumPy arrays of the rows this process owns.

Training makes global arrays of them and keeps the class, so the fields may hold either.
"""

from typing import Any, NamedTuple

from jaxtyping import Float32, Int32


class Batch(NamedTuple):
    """Rows of tokens; a JAX pytree by being a named tuple.

    `tokens` are the input: the token before each of `targets`. `weights` is 0 on padding.
    `segment_ids` count documents within a row from 1 (0 is padding); `positions` restart at each.
    """

    tokens: Int32[Any, "B T"]
    targets: Int32[Any, "B T"]
    positions: Int32[Any, "B T"]
    segment_ids: Int32[Any, "B T"]
    weights: Float32[Any, "B T"]
