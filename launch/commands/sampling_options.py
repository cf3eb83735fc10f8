"""Options of the commands that write: how tokens are drawn, and where a text ends."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Interval

from data.errors import UserError
from data.fields import Count, Seed
from launch.run.temperature import TEMPERATURE

if TYPE_CHECKING:
    from model.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How tokens are drawn, and where a text ends."""

    temperature: Annotated[float, Interval(ge=0, le=1e3)] = TEMPERATURE
    """Divides the logits; 0 takes the likeliest token each time."""
    top_k: Count | None = None
    """Draw only from this many likeliest tokens."""
    top_p: Annotated[float, Interval(ge=1e-6, le=1)] | None = None
    """Draw only from the likeliest tokens that together have this probability."""
    repetition_penalty: Annotated[float, Interval(ge=1e-2, le=1e2)] = 1.0
    """Makes tokens that are in prompt or text already less likely, by this factor; 1 does not."""
    stop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """End a text before this string; may be given again."""
    seed: Seed = 0
    """Seed of the drawing."""

    def __post_init__(self) -> None:
        if 0 < self.temperature < 1e-6:
            raise UserError(
                f"temperature={self.temperature} must be 0 or at least 1e-06, because logits are "
                "divided by it and would overflow; try --temperature 0"
            )

    def sampling(self) -> "Sampling":
        from model.sampling import Sampling

        return Sampling(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
        )
