"""How rotary wavelengths are stretched for rows longer than those of training. Imports no jax."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from data.errors import UserError
from data.fields import Size

FASTEST = {"llama3": 4.0, "yarn": 32.0}
"""Turns of a wave over `trained_length` from which on it is not stretched, as published."""


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """A way to stretch, and by how much."""

    kind: Literal["none", "linear", "llama3", "yarn"] = "none"
    """`linear` stretches all waves (Chen et al. 2023); `llama3` and `yarn` (Peng et al. 2023) those
    that turn seldom, blended by turns or by channel."""
    factor: Annotated[float, Interval(ge=1, le=1e6)] = 1.0
    """By how much: rows may be about so many times as long."""
    trained_length: Size = 8192
    """Tokens of the rows of training before, for `llama3` and `yarn`."""
    fastest: Annotated[float, Interval(ge=1e-6, le=1e6)] | None = None
    """Waves that turn so often over `trained_length` stay as they are: 4 for `llama3` and 32 for
    `yarn` by default."""
    slowest: Annotated[float, Interval(ge=1e-6, le=1e6)] = 1.0
    """Waves that turn no more often than this are stretched in full."""
    score_factor: Annotated[float, Interval(ge=1e-3, le=1e3)] | None = None
    """What `yarn` multiplies queries by, and keys; 0.1 log(factor) + 1 by default."""

    def __post_init__(self) -> None:
        if self.kind == "none" and self.factor != 1:
            raise UserError(
                f"model.rope_scaling.factor={self.factor} must be 1 with "
                "model.rope_scaling.kind=none, because nothing is stretched then; try "
                "--model.rope-scaling.kind llama3"
            )
        if self.kind in FASTEST and self.fast <= self.slowest:
            raise UserError(
                f"model.rope_scaling.fastest={self.fast} must be above "
                f"model.rope_scaling.slowest={self.slowest}, because waves between the two are "
                f"blended; try --model.rope-scaling.{self._advised}"
            )

    @property
    def _advised(self) -> str:
        """A flag that mends which waves are blended."""
        usual = FASTEST[self.kind]
        return "slowest 1" if self.slowest >= usual else f"fastest {usual:g}"

    @property
    def fast(self) -> float:
        """`fastest`, or the published one."""
        return FASTEST[self.kind] if self.fastest is None else self.fastest

    @property
    def amplitude(self) -> float:
        """What queries and keys are multiplied by."""
        if self.kind != "yarn":
            return 1.0
        return self.score_factor or 0.1 * math.log(self.factor) + 1
