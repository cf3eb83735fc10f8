"""Contexts of questions, cut into rows that overlap, and the best answer of all of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from data.batch import SpanRows
from data.errors import UserError
from data.examples_config import AnswersConfig
from data.rows.examples import encoded_texts, require_text, texts_of
from data.rows.predictor import Example
from data.tokenizer import Placed, Tokenizer


class Question(NamedTuple):
    """A question and its context as ids."""

    ids: np.ndarray
    context: Placed
    text: str
    """The context."""
    origin: str


class ContextWindow(NamedTuple):
    """A part of a question's context that is a row."""

    question: int
    """Number of the question."""
    first: int
    after: int
    """Tokens of the context."""


class Answer(NamedTuple):
    """An answer in its context: characters, first and first after."""

    text: str
    first: int
    after: int


class ContextWindows:
    """Questions and the rows that their contexts are cut into."""

    def __init__(
        self, config: AnswersConfig, tokenizer: Tokenizer, examples: Sequence[Example]
    ) -> None:
        self._config, self._tokenizer = config, tokenizer
        texts = {
            field: [require_text(e.values[field], field, e.origin) for e in examples]
            for field in (config.question_field, config.context_field)
        }
        contexts = texts[config.context_field]
        self.questions = [
            Question(ids, placed, text, example.origin)
            for ids, placed, text, example in zip(
                encoded_texts(tokenizer, texts[config.question_field]),
                tokenizer.place_batch(contexts),
                contexts,
                examples,
                strict=True,
            )
        ]
        self.windows = [w for n, q in enumerate(self.questions) for w in self._cut(n, q)]

    def _cut(self, number: int, question: Question) -> list[ContextWindow]:
        T, overlap = self._config.sequence_length, self._config.overlap
        room = T - len(question.ids) - 3
        length = len(question.context.ids)
        if room < 1 or (room <= overlap and room < length):
            needed = len(question.ids) + 3 + overlap + 1
            raise UserError(
                f"data.sequence_length={T} must be at least {needed}, because the question in "
                f"{question.origin} has {len(question.ids)} tokens and neighbouring rows share "
                f"{overlap} of the context; try --data.sequence-length {needed} or a smaller "
                "--data.overlap"
            )
        firsts = [0]
        while firsts[-1] + room < length:
            firsts.append(firsts[-1] + room - overlap)
        return [ContextWindow(number, first, min(first + room, length)) for first in firsts]

    def begin(self, window: ContextWindow) -> int:
        """Place in the row of the window's first token of the context."""
        return len(self.questions[window.question].ids) + 2

    def batch(self, windows: Sequence[ContextWindow | None]) -> SpanRows:
        """The rows of these windows, whose answers are not known and at place 0; None is
        padding."""
        rows: list[Sequence[np.ndarray] | None] = [None] * len(windows)
        T = self._config.sequence_length
        places = np.zeros((len(windows), T), np.int32)
        for row, window in enumerate(windows):
            if window is not None:
                question = self.questions[window.question]
                rows[row] = [question.ids, question.context.ids[window.first : window.after]]
                begin = self.begin(window)
                places[row, begin : begin + window.after - window.first] = 1
        places[:, 0] = 1
        return SpanRows(
            *texts_of(self._tokenizer, rows, T, pairs=True),
            places=places,
            targets=np.zeros((len(windows), 2), np.int32),
            weights=np.array([window is not None for window in windows], np.float32),
        )

    def best(
        self, windows: Sequence[ContextWindow], scores: np.ndarray, *, unanswered: bool
    ) -> dict[int, tuple[Answer, float]]:
        """The best answer of each question that has a window here, with its score [n, T, 2]; the
        empty one if `unanswered` questions are known and none scores above that."""
        best: dict[int, tuple[Answer, float]] = {}
        nothing: dict[int, float] = {}
        for window, row in zip(windows, np.asarray(scores, np.float64), strict=True):
            number, begin = window.question, self.begin(window)
            none = float(row[0].sum())
            nothing[number] = min(none, nothing.get(number, np.inf))
            part = row[begin : begin + window.after - window.first]
            first, last, score = best_span(part, self._config.longest_answer)
            if number not in best or score > best[number][1]:
                placed = self.questions[number].context
                a, b = placed.starts[window.first + first], placed.ends[window.first + last]
                best[number] = _trimmed(self.questions[number].text, int(a), int(b)), score
        for number, score in nothing.items() if unanswered else ():
            if score >= best[number][1]:
                best[number] = Answer("", 0, 0), score
        return best


def _trimmed(context: str, first: int, after: int) -> Answer:
    """The answer between these characters, without the space that tokens begin with."""
    text = context[first:after]
    first += len(text) - len(text.lstrip())
    return Answer(text.strip(), first, first + len(text.strip()))


def best_span(scores: np.ndarray, longest: int) -> tuple[int, int, float]:
    """First and last place of the span with the highest sum of scores [T, 2], and that sum."""
    sums = scores[:, None, 0] + scores[None, :, 1]
    apart = np.arange(len(scores))[None] - np.arange(len(scores))[:, None]
    sums = np.where((apart >= 0) & (apart < longest), sums, -np.inf)
    first, last = np.unravel_index(np.argmax(sums), sums.shape)
    return int(first), int(last), float(sums[first, last])
