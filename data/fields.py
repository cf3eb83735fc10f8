"""What a field of a config declares of itself: that it may change on resume, and its bounds.

Imports no other module of this repository, so that every config can use it.
"""

from typing import Annotated

from annotated_types import Interval

FREE = {"resume": "free"}
"""Metadata of a field that may change when a run is resumed; every other must match."""
LARGEST = 2**31 - 1
"""JAX counts in 32 bits."""
Count = Annotated[int, Interval(ge=1, le=LARGEST)]
Whole = Annotated[int, Interval(ge=0, le=LARGEST)]
Size = Annotated[int, Interval(ge=1, le=2**24)]
"""Elements along one dimension of an array."""
Layers = Annotated[int, Interval(ge=1, le=100_000)]
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Share = Annotated[float, Interval(ge=0, le=1)]
