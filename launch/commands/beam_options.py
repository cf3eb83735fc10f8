"""Options of the commands that may write by beam search."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from annotated_types import Interval

if TYPE_CHECKING:
    from model.beams import Beams


@dataclass(frozen=True, kw_only=True)
class BeamOptions:
    """How the best text is searched for."""

    beams: Annotated[int, Interval(ge=1, le=1000)] | None = None
    """Follow so many continuations side by side, and take the best; none are followed by default.
    """
    length_penalty: Annotated[float, Interval(ge=-10, le=10)] = 1.0
    """A, with beams: the log-probability of a text of n tokens is divided by n**A; more prefers
    longer texts."""

    def search(self) -> "Beams | None":
        """The beams, if there are any; ValueError for a length penalty without them."""
        from model.beams import beams_of

        return beams_of(self.beams, self.length_penalty)
