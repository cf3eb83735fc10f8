"""Rows of questions with contexts, in which the answer begins and ends somewhere.

A context that is longer than a row is cut into rows that overlap, each with the question; the best
answer of all of them counts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.batch import Batch, SpanRows
from data.cache import digest_of
from data.config import to_stderr
from data.errors import UserError
from data.examples_config import AnswersConfig
from data.rows.contexts import Answer, ContextWindow, ContextWindows
from data.rows.examples import ExampleRows, require_text
from data.rows.predictor import Example, Predictor
from data.rows.records import read_examples
from data.rows.rows import Split
from data.scores import of_answers
from data.tokenizer import Tokenizer

SHOWN = 5
"""Questions at the end of a run."""


def open_answers(
    config: AnswersConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "AnswerRows":
    """The rows of a split; ValueError, with the record's place, for answers not in the context."""
    tokenizer = config.load_tokenizer()
    fields = [config.question_field, config.context_field, config.answers_field]
    splits, digest = read_examples(
        config, fields, lambda e: str(e.values[config.context_field]), report
    )
    unanswered = any(not answers_of(config, example) for example in splits["train"])
    return AnswerRows(config, split, tokenizer, splits[split], digest, unanswered)


def answers_of(config: AnswersConfig, example: Example) -> list[Answer]:
    """Where the answers of an example stand; ValueError if one does not."""
    context = require_text(
        example.values[config.context_field], config.context_field, example.origin
    )
    values = example.values[config.answers_field]
    if isinstance(values, Mapping):
        # SQuAD's own form: {"text": [...], "answer_start": [...]}.
        pairs = zip(values.get("text", []), values.get("answer_start", []), strict=False)
        values = [{"text": text, "start": start} for text, start in pairs]
    answers = []
    for value in [values] if isinstance(values, str) else values:
        text = value.get("text") if isinstance(value, Mapping) else value
        if not isinstance(text, str):
            raise UserError(
                f"data.answers_field={config.answers_field!r} must hold texts, or {{text, start}}, "
                f"but in {example.origin} it has {value!r}; try another field"
            )
        if not text:
            continue
        first = value.get("start") if isinstance(value, Mapping) else None
        first = context.find(text) if first is None else int(first)
        if first < 0 or context[first : first + len(text)] != text:
            where = f"from character {first}" if first >= 0 else "anywhere"
            raise UserError(
                f"answer {text[:60]!r} in {example.origin} must stand in its context of "
                f"{len(context):,} characters, because it is learnt by its place, but it does not "
                f"{where}; try the answer as the context spells it"
            )
        answers.append(Answer(text, first, first + len(text)))
    return answers


class AnswerRows(ExampleRows[SpanRows]):
    """ContextWindows of contexts, each with its question."""

    question = "span"

    def __init__(
        self,
        config: AnswersConfig,
        split: Split,
        tokenizer: Tokenizer,
        examples: list[Example],
        digest: str,
        unanswered: bool,
    ) -> None:
        self._contexts = ContextWindows(config, tokenizer, examples)
        self._answers = [answers_of(config, example) for example in examples]
        self._asked, self._unanswered = config, unanswered
        super().__init__(
            config, split, tokenizer, examples, digest, count=len(self._contexts.windows)
        )
        self.digest = digest_of(self.digest, "span", config.overlap)

    @property
    def outputs(self) -> int:
        return 0

    def describe(self) -> list[str]:
        """Questions and rows of an epoch."""
        none = sum(not answers for answers in self._answers)
        without = f", {none:,} of them without an answer" if none else ""
        return [
            f"data: {len(self._answers):,} questions{without} in {self.num_rows:,} rows of "
            f"{self._config.sequence_length} tokens, each epoch"
        ]

    def origin(self, index: int) -> str:
        example = self._contexts.windows[int(self.examples(np.array([index]))[0])].question
        return self._examples[example].origin

    def batch(self, indices: np.ndarray) -> SpanRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        windows: list[ContextWindow | None] = [None] * len(indices)
        for place, number in self.of_rows(indices):
            windows[place] = self._contexts.windows[number]
        batch = self._contexts.batch(windows)
        for row, window in enumerate(windows):
            if window is not None:
                batch.targets[row] = self._target(window)
        return batch

    def _target(self, window: ContextWindow) -> tuple[int, int]:
        """First and last token in the row of the first answer that is whole in the window."""
        placed = self._contexts.questions[window.question].context
        starts, ends = (side[window.first : window.after] for side in (placed.starts, placed.ends))
        for answer in self._answers[window.question]:
            inside = np.flatnonzero((ends > answer.first) & (starts < answer.after))
            whole = len(inside) and starts[inside[0]] <= answer.first
            if whole and ends[inside[-1]] >= answer.after:
                begin = self._contexts.begin(window)
                return begin + int(inside[0]), begin + int(inside[-1])
        return 0, 0

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "unanswered": self._unanswered}

    def score(self, indices: np.ndarray, outputs: Any) -> Mapping[str, float]:
        """Exact match and F1 of the questions of these rows, which there are, [n, T, 2] scores."""
        windows = [self._contexts.windows[number] for _, number in self.of_rows(indices)]
        best = self._contexts.best(windows, outputs, unanswered=self._unanswered)
        right = [[answer.text for answer in self._answers[number]] for number in best]
        return of_answers([answer.text for answer, _ in best.values()], right)

    def show(self, indices: np.ndarray, outputs: Any) -> list[str]:
        """Some questions with the answers that the model gives, and the right ones."""
        windows = [self._contexts.windows[number] for _, number in self.of_rows(indices)]
        best = self._contexts.best(windows, outputs, unanswered=self._unanswered)
        lines = []
        for number, (answer, _) in list(best.items())[:SHOWN]:
            question = self._examples[number].values[self._asked.question_field]
            right = " or ".join(each.text for each in self._answers[number]) or "no answer"
            lines.append(f"{question}  {answer.text or 'no answer'}  (right: {right})")
        return lines


class AnswerPredictor(Predictor):
    """Other questions with their contexts."""

    def __init__(self, config: AnswersConfig, tokenizer: Tokenizer, unanswered: bool) -> None:
        self._config, self._tokenizer, self._unanswered = config, tokenizer, unanswered
        self.fields = [config.question_field, config.context_field]

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> SpanRows:
        contexts = ContextWindows(self._config, self._tokenizer, inputs)
        return contexts.batch(contexts.windows)

    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """The answer and its place in the context, characters; empty if there is none."""
        contexts = ContextWindows(self._config, self._tokenizer, inputs)
        best = contexts.best(contexts.windows, outputs, unanswered=self._unanswered)
        return [
            {"answer": answer.text, "first": answer.first, "after": answer.after, "score": score}
            for answer, score in (best[number] for number in range(len(inputs)))
        ]

    def shown(self, values: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """The question, its answer and where that stands."""
        if not answer["answer"]:
            return f"{values[self.fields[0]]}  no answer"
        place = f"characters {answer['first']:,} to {answer['after']:,}"
        return f"{values[self.fields[0]]}  {answer['answer']}  ({place})"


def open_answer_predictor(
    config: AnswersConfig, tokenizer: Tokenizer, meta: Mapping[str, Any]
) -> AnswerPredictor:
    """How the run of this config, whose checkpoint has that meta, is asked other questions."""
    return AnswerPredictor(config, tokenizer, meta["unanswered"])


def answer_shapes(config: AnswersConfig, batch_size: int) -> Batch:
    """A batch of that size in shapes and types alone."""
    ids = np.broadcast_to(np.int32(0), (batch_size, config.sequence_length))
    targets = np.broadcast_to(np.int32(0), (batch_size, 2))
    weights = np.broadcast_to(np.float32(0), (batch_size,))
    return SpanRows(ids, ids, ids, ids, targets, weights)
