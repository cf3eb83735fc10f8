"""Other texts with hidden places, which a model of masked tokens fills in."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.batch import HiddenRows
from data.config import MaskedConfig
from data.errors import UserError
from data.pieces import MASKS
from data.rows.examples import require_text
from data.rows.predictor import Example, Predictor
from data.tokenizer import Tokenizer

MASK = re.compile("|".join(map(re.escape, MASKS)))


class FillPredictor(Predictor):
    """Texts in which [MASK], or <mask>, stands for a token that is not known."""

    def __init__(self, config: MaskedConfig, tokenizer: Tokenizer) -> None:
        self._config, self._tokenizer = config, tokenizer
        self.fields = [config.text_field]
        assert tokenizer.mask is not None, "the rows that it was trained on have one"
        self._mask = tokenizer.mask

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> HiddenRows:
        """ValueError names a text without a mask, and one that is longer than a row."""
        rows = [self._ids(example) for example in inputs]
        hidden = [np.flatnonzero(row == self._mask) for row in rows]
        shape = (len(rows), self._config.sequence_length)
        tokens, segments = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
        # So few sizes that programs are compiled seldom.
        most = 1 << (max(map(len, hidden)) - 1).bit_length()
        places = np.zeros((len(rows), most), np.int32)
        for number, (row, own) in enumerate(zip(rows, hidden, strict=True)):
            tokens[number, : len(row)], segments[number, : len(row)] = row, 1
            places[number, : len(own)] = own
        return HiddenRows(tokens, places, segments, np.ones(len(rows), np.float32))

    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """The text with its places filled in, and the likeliest tokens of each with their
        probabilities."""
        answers = []
        for example, ids, shares in zip(inputs, *outputs, strict=True):
            row = self._ids(example)
            places = np.flatnonzero(row == self._mask)
            row[places] = ids[: len(places), 0]
            choices = [
                list(zip(self._tokenizer.decode_batch(each[:, None]), map(float, own), strict=True))
                for each, own in zip(ids[: len(places)], shares, strict=False)
            ]
            (text,) = self._tokenizer.decode_batch([row[1:]])
            answers.append({"filled": text, "choices": choices})
        return answers

    def shown(self, values: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """The text filled in, and below it what may stand in each place."""
        lines = [answer["filled"]]
        for number, choices in enumerate(answer["choices"], start=1):
            named = ", ".join(f"{token!r} {share:.3f}" for token, share in choices)
            lines.append(f"  mask {number}: {named}")
        return "\n".join(lines)

    def _ids(self, example: Example) -> np.ndarray:
        """The tokens of a document that begins with the text."""
        (field,), T = self.fields, self._config.sequence_length
        text = require_text(example.values[field], field, example.origin)
        texts = MASK.split(text)
        if self._config.tokenizer != "bytes":
            # The space before a word is part of its token, and so of what is hidden.
            texts = [*(part.rstrip(" ") for part in texts[:-1]), texts[-1]]
        parts = self._tokenizer.encode_batch(texts)
        if len(parts) == 1:
            raise UserError(
                f"{example.origin} must hold {MASKS[0]} or {MASKS[1]}, because the model fills in "
                f"what is hidden; try 'def {MASKS[0]}:'"
            )
        ids = [self._tokenizer.begin.id]
        for number, part in enumerate(parts):
            ids += [self._mask] * (number > 0) + part.tolist()
        if len(ids) > T:
            raise UserError(
                f"{example.origin} must have at most {T - 1:,} tokens, because a row has "
                f"data.sequence_length={T}, but it has {len(ids) - 1:,}; try a shorter text"
            )
        return np.array(ids, np.int32)


def open_fill_predictor(
    config: MaskedConfig, tokenizer: Tokenizer, meta: Mapping[str, Any]
) -> FillPredictor:
    """How the run of this config is asked other texts."""
    return FillPredictor(config, tokenizer)
