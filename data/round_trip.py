"""What a tokenizer makes of the text it is given, counted while a store is prepared: what it loses,
and which special tokens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.config import DataConfig
from data.source import Document
from data.tokenizer import Tokenizer

SHOWN = 5


class RoundTrip:
    """Counts the characters that do not come back when the tokens of a text are decoded.

    Characters are counted by kind and not by place, so that blanks a decoder adds lose nothing.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = np.zeros(tokenizer.vocab_size, bool)
        self._special[list(tokenizer.special)] = True
        self.counts: dict[str, Any] = {"characters": 0, "lost": 0, "unknown": 0, "example": ""}
        """Characters of text, those lost or replaced, unknown tokens, and where the first is;
        `special` are the special tokens that text was encoded to."""
        self.counts["special"] = []

    def count(self, documents: Sequence[Document], encoded: Sequence[np.ndarray]) -> None:
        """Add these documents, whose ids are `encoded`."""
        decoded = self._tokenizer.decode_batch(encoded)
        for document, ids, back in zip(documents, encoded, decoded, strict=True):
            self.counts["characters"] += len(document.text)
            if self._special[ids].any():
                special = {*self.counts["special"], *ids[self._special[ids]].tolist()}
                self.counts["special"] = sorted(special)
            if self._tokenizer.unknown is not None:
                self.counts["unknown"] += int((ids == self._tokenizer.unknown).sum())
            if back != document.text:
                self._compare(document, back)

    def _compare(self, document: Document, back: str) -> None:
        lost = Counter(document.text) - Counter(back)
        if lost and not self.counts["lost"]:
            shown = " ".join(map(repr, list(lost)[:SHOWN]))
            self.counts["example"] = f"{shown} in {document.file} at {document.place}"
        self.counts["lost"] += lost.total()


def describe_lost(shards: Sequence[Mapping[str, Any]]) -> str:
    """What the tokenizer lost of all shards, in a line; empty if nothing."""
    total = {
        name: sum(shard[name] for shard in shards) for name in ("characters", "lost", "unknown")
    }
    if not total["lost"] and not total["unknown"]:
        return ""
    share = total["lost"] / total["characters"]
    return (
        f"{total['lost']:,} of {total['characters']:,} characters ({share:.2g}) are lost or "
        f"replaced by the tokenizer, {total['unknown']:,} tokens are unknown"
    )


def refuse_lost(config: DataConfig, spec: str, shard: Mapping[str, Any]) -> None:
    """Raise ValueError if the counts of a shard exceed `data.lost_characters`."""
    lost, characters = shard["lost"], shard["characters"]
    if lost <= config.lost_characters * characters:
        return
    raise ValueError(
        f"data.tokenizer={config.tokenizer!r} must give back the text it is given, because what it "
        f"loses is never learnt, but of {characters:,} characters of {spec!r} it loses or replaces "
        f"{lost:,} ({lost / characters:.2g}; data.lost_characters={config.lost_characters:g}), "
        f"with {shard['unknown']:,} unknown tokens; the first are {shard['example']}; try a "
        "tokenizer that knows them, or --data.lost-characters 1 to do without them"
    )


def refuse_boundaries(tokenizer: Tokenizer, config: DataConfig, where: str, ids: Any) -> None:
    """Raise ValueError if the ids of a text hold one of those that stand between documents."""
    for role, token in (("end", tokenizer.end), ("begin", tokenizer.begin)):
        if token.id in ids:
            raise ValueError(
                f"data.tokenizer={config.tokenizer!r} must not make the {role} token "
                f"{token.name!r} ({token.id}) of text, because documents are told apart by it, but "
                f"it does in {where}; try --data.{role}-token with another special token, or "
                "another tokenizer"
            )
