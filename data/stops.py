"""A text as it comes, which ends before the first of some strings."""

from collections.abc import Sequence

from data.errors import UserError


class StoppedText:
    """The text before the stop string that is complete first, however the pieces are cut.

    What may be the beginning of a stop string is kept back until it is known not to be.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        """ValueError for an empty stop string, at which every text would end."""
        if "" in stops:
            raise UserError(
                "stop='' must have a character, because a text ends before it; try leaving it out"
            )
        self._stops = stops
        self._kept = ""
        self.stopped = False
        """Whether a stop string came; what comes after it is dropped."""

    def add(self, text: str) -> str:
        """What is certain to belong to the text by now."""
        if self.stopped:
            return ""
        self._kept += text
        complete = [
            (start + len(stop), start)
            for stop in self._stops
            if (start := self._kept.find(stop)) >= 0
        ]
        if complete:
            self.stopped = True
            return self._kept[: min(complete)[1]]
        certain = len(self._kept) - max(map(self._begun, self._stops), default=0)
        text, self._kept = self._kept[:certain], self._kept[certain:]
        return text

    def close(self) -> str:
        """What was kept back, as no more text comes."""
        return "" if self.stopped else self._kept

    def _begun(self, stop: str) -> int:
        """Characters of a stop string with which the text ends."""
        sizes = range(min(len(stop) - 1, len(self._kept)), 0, -1)
        return next((size for size in sizes if self._kept.endswith(stop[:size])), 0)
