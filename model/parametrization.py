"""How width and depth enter activations and rates: muP and depth scaling. Imports no jax.

Every factor is 1 at the base shape, where all parametrizations are the standard one. Width follows
Yang et al. 2022 (Tensor Programs V, table 8, in which one table may serve input and output), depth
Bordelon et al. 2023 (`sqrt`) or Dey et al. 2025 (CompleteP, `linear`).
"""

import math
from typing import NamedTuple

EXPONENTS = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}


class Scaling(NamedTuple):
    """A model's shape next to that of the model that was tuned. Heads and feed-forward are taken
    to widen as the model does."""

    width: float = 1.0
    """D over the base's."""
    depth: float = 1.0
    """L over the base's."""
    exponent: float = 0.0
    """What branches are divided by is the depth to this power."""
    base_heads: float = 1.0
    """H of the base over H."""

    @property
    def query(self) -> float:
        """Factor on queries, besides the kernels' 1 / sqrt(H): scores fall as 1 / H from the base
        on.

        Trained queries and keys are correlated, so that their products grow as H, not as sqrt(H).
        """
        return math.sqrt(self.base_heads)

    @property
    def branch(self) -> float:
        """Factor on what attention and feed-forward add to the residual stream."""
        return self.depth**-self.exponent

    @property
    def logit(self) -> float:
        """Factor on final hidden states, and so on logits: trained logits sum D correlated
        products."""
        return 1 / self.width

    def rate(self, *, between_widths: bool, in_block: bool) -> float:
        """Factor on the learning rate of a weight, for Adam and Lion.

        Matrices between two widths learn as 1 / D. Tables, biases and norms learn alike at every
        width.
        """
        wide = self.width if between_widths else 1.0
        deep = self.depth if in_block else 1.0
        return deep ** (self.exponent - 1) / wide

    def gradient(self, *, in_block: bool) -> float:
        """Factor that gives gradients the size they have at the base, so that Adam's epsilon counts
        alike.

        They come back through the factor on logits, those of a block through the branches' too.
        """
        return 1 / (self.logit * (self.branch if in_block else 1.0))


STANDARD = Scaling()
"""The base itself."""
