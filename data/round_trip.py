"""What a tokenizer loses of a text, and which special tokens it makes of it, counted while a store
is prepared."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data.config import TextConfig
from data.errors import UserError
from data.sources.source import Document
from data.tokenizer import Tokenizer

SHOWN = 5


class RoundTrip:
    """Counts the characters that do not come back when the tokens of a text are decoded.

    Characters are counted by kind and not by place: blanks that a decoder adds lose nothing, and
    an order that it changes is not seen.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._special = np.zeros(tokenizer.vocab_size, bool)
        self._special[list(tokenizer.special)] = True
        self.counts: dict[str, Any] = {
            **dict.fromkeys(("characters", "lost", "unknown", "empty"), 0),
            "example": "",
            "special": [],
        }
        """Characters of text, those lost or replaced, unknown tokens, documents without a
        character; where the first loss is, and the special tokens that text was encoded to."""

    def count(self, documents: Sequence[Document], encoded: Sequence[np.ndarray]) -> None:
        """Add these documents, whose ids are `encoded`."""
        unknown = self._tokenizer.unknown
        # Decoders spell the unknown token, whose letters are none of the text.
        known = [ids[ids != unknown] if unknown is not None else ids for ids in encoded]
        decoded = self._tokenizer.decode_batch(known)
        for document, ids, back in zip(documents, encoded, decoded, strict=True):
            self.counts["characters"] += len(document.text)
            if self._special[ids].any():
                special = {*self.counts["special"], *ids[self._special[ids]].tolist()}
                self.counts["special"] = sorted(special)
            if unknown is not None:
                self.counts["unknown"] += int((ids == unknown).sum())
            if back != document.text:
                self._compare(document, back)

    def _compare(self, document: Document, back: str) -> None:
        lost = Counter(document.text) - Counter(back)
        if lost and not self.counts["lost"]:
            shown = " ".join(map(repr, list(lost)[:SHOWN]))
            self.counts["example"] = f"{shown} in {document.file} at {document.place}"
        self.counts["lost"] += lost.total()


def left_out(shards: Sequence[Mapping[str, Any]]) -> list[str]:
    """What of the text of all shards is not among their tokens, in lines; none if all is."""
    names = ("characters", "lost", "unknown", "empty")
    total = {name: sum(shard[name] for shard in shards) for name in names}
    lines = []
    if total["lost"] or total["unknown"]:
        share = total["lost"] / total["characters"]
        lines += [
            f"{total['lost']:,} of {total['characters']:,} characters ({share:.2g}) are lost or "
            f"replaced by the tokenizer, {total['unknown']:,} tokens are unknown"
        ]
    if total["empty"]:
        lines += [f"{total['empty']:,} documents without a character are left out"]
    return lines


def refuse_lost(config: TextConfig, spec: str, shard: Mapping[str, Any]) -> None:
    """Raise ValueError if the counts of a shard exceed `data.lost_characters`."""
    lost, characters = shard["lost"], shard["characters"]
    if lost <= config.lost_characters * characters:
        return
    raise UserError(
        f"data.tokenizer={config.tokenizer!r} must give back the text that it encodes, because "
        f"what it loses is never learnt, but of {characters:,} characters of {spec!r} it loses or "
        f"replaces {lost:,} ({lost / characters:.2g}; "
        f"data.lost_characters={config.lost_characters:g}), "
        f"with {shard['unknown']:,} unknown tokens; the first are {shard['example']}; try a "
        "tokenizer that knows them, or --data.lost-characters 1 to do without them"
    )


def refuse_boundaries(tokenizer: Tokenizer, config: TextConfig, where: str, ids: Any) -> None:
    """Raise ValueError if the ids of a text hold one of those that stand between documents."""
    for role, token in (("end", tokenizer.end), ("begin", tokenizer.begin)):
        if token.id in ids:
            raise UserError(
                f"data.tokenizer={config.tokenizer!r} must not make the {role} token "
                f"{token.name!r} ({token.id}) of text, because it separates documents, but "
                f"it does in {where}; try --data.{role}-token with another special token, or "
                "another tokenizer"
            )
