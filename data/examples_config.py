"""Data of examples with answers: labelled texts, tagged words, questions, pairs. A row is an
example. Imports no grain, so that `--help` stays fast."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Interval

from data.config import SourcesConfig, to_stderr
from data.errors import UserError
from data.fields import FREE, Size
from data.rows import table as rows_table

if TYPE_CHECKING:
    from data.batch import Batch
    from data.rows.predictor import Predictor
    from data.rows.rows import Rows, Split


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig(SourcesConfig):
    """Records of sources, each of which is a row."""

    sources: tuple[str, ...] = field(default=(), metadata=FREE)
    """Corpora to train on, each `kind:where`: `csv:GLOB` (also .tsv), `jsonl:GLOB`, `parquet:GLOB`,
    `tfds:NAME`, and for tags `conll:GLOB`."""
    held_out_sources: tuple[str, ...] = field(default=(), metadata=FREE)
    """Corpora to evaluate on, such as the official split; without any, `held_out` keeps a share."""
    held_out: Annotated[float, Interval(ge=0, le=0.999)] = 0.1
    """Share of examples, chosen by the hash of their text, that is kept for evaluation, if no
    sources are."""
    sequence_length: Size = 128
    """T, tokens in a row; an example is one row."""
    too_long: Literal["refuse", "cut"] = "refuse"
    """What happens to a text of more tokens than a row: nothing is trained, or its end is cut off,
    and how many were is reported."""

    source_fields: ClassVar[tuple[str, ...]] = ("sources", "held_out_sources")
    example_source: ClassVar[str] = "csv:train.csv"
    packing = True
    if TYPE_CHECKING:
        kind: Any = ""

    @property
    def scored_share(self) -> float:
        return 0.0

    def open_rows(self, split: "Split", *, report: Callable[[str], None] = to_stderr) -> "Rows":
        """The rows of a split, which is read whole.

        ValueError if a source or the tokenizer cannot be read, or an example cannot be learnt.
        """
        return rows_table.open_rows(self.kind, self, split, report)

    def open_predictor(self, tokenizer: Any, meta: Mapping[str, Any]) -> "Predictor | None":
        """How a model that was trained on these data is asked other texts."""
        return rows_table.open_predictor(self.kind, self, tokenizer, meta)

    def batch_shapes(self, batch_size: int) -> "Batch":
        """A batch of that size in shapes and types alone."""
        return rows_table.batch_shapes(self.kind, self, batch_size)


@dataclass(frozen=True, kw_only=True)
class LabelledConfig(ExamplesConfig):
    """Texts, or pairs of texts, each with a label, several labels, or a number."""

    kind: Literal["labels"] = "labels"
    """What the rows ask for: the label of a text."""
    text_field: str = "text"
    """Field of a record that holds the text."""
    pair_field: str | None = None
    """Field that holds the second text of a pair."""
    label_field: str = "label"
    """Field that holds the label; with `several` a list, or names parted by commas."""
    task: Literal["one", "several", "number"] = "one"
    """Whether a text has one label of all, any number of them, or a number to be predicted."""
    labels: tuple[str, ...] = ()
    """The labels in the order of their numbers; without any, those of the training examples,
    sorted."""
    balance: bool = False
    """Weigh each label by the inverse of how often it comes, in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.task == "several" and not self.labels:
            raise UserError(
                "data.labels=() must name the labels with data.task=several, because each is "
                "scored apart and some may be missing in training; try --data.labels A B C"
            )
        for name, set_ in (("labels", self.labels), ("balance", self.balance)):
            if set_ and self.task == "number":
                raise UserError(
                    f"data.{name}={set_} must be left out with data.task=number, because a number "
                    f"has no labels; try without --data.{name}"
                )
        if self.balance and self.task == "several":
            raise UserError(
                "data.balance=True must be False with data.task=several, because a text counts "
                "once for all its labels; try --data.no-balance"
            )


@dataclass(frozen=True, kw_only=True)
class TaggedConfig(ExamplesConfig):
    """Sentences of words, each with a tag: entities, parts of speech, roles."""

    kind: Literal["tags"] = "tags"
    """What the rows ask for: the tag of each word."""
    words_field: str = "words"
    """Field of a record that holds the list of words; of `conll:` the first column."""
    tags_field: str = "tags"
    """Field that holds the list of tags; of `conll:` the last column."""
    tags: tuple[str, ...] = ()
    """The tags in the order of their numbers; without any, those of the training examples,
    sorted."""


@dataclass(frozen=True, kw_only=True)
class AnswersConfig(ExamplesConfig):
    """Questions whose answers stand in a context, as in SQuAD."""

    kind: Literal["span"] = "span"
    """What the rows ask for: where the answer begins and ends."""
    question_field: str = "question"
    """Field of a record that holds the question."""
    context_field: str = "context"
    """Field that holds the text in which the answer stands."""
    answers_field: str = "answers"
    """Field that holds the answers: a text, or a list of texts, or of `{text, start}` with the
    number of the first character; an empty list or text if there is no answer."""
    sequence_length: Size = 384
    """T, tokens in a row: a question and as much of its context as fits."""
    overlap: Size = 128
    """Tokens of the context that neighbouring rows share, where it is longer than a row."""
    longest_answer: Size = 30
    """Tokens of an answer at most, when answers are predicted."""


@dataclass(frozen=True, kw_only=True)
class PairsConfig(ExamplesConfig):
    """Pairs of texts that mean the same, to learn sentence embeddings from."""

    kind: Literal["embedding"] = "embedding"
    """What the rows ask for: that the two texts of a pair are near each other."""
    text_field: str = "text"
    """Field of a record that holds a text."""
    pair_field: str = "pair"
    """Field that holds the text that means the same."""


@dataclass(frozen=True, kw_only=True)
class TargetsConfig(ExamplesConfig):
    """Pairs of a text and what is to be written of it: translations, summaries, answers. A row
    holds as many pairs as fit into it on both sides."""

    kind: Literal["targets"] = "targets"
    """What the rows ask for: the text that is written of another."""
    source_field: str = "source"
    """Field of a record that holds the text that is read."""
    target_field: str = "target"
    """Field that holds the text that is written."""
    sequence_length: Size = 128
    """S, tokens of a row's sources, each with the end token after it."""
    target_length: Size | None = None
    """T, tokens of its targets, each with the end token after it; None is as many."""

    @property
    def written_length(self) -> int:
        """T."""
        return self.target_length or self.sequence_length

    @property
    def scored_share(self) -> float:
        return self.written_length / self.sequence_length

    def open_predictor(self, tokenizer: Any, meta: Mapping[str, Any]) -> "Predictor | None":
        """None: texts are written, not labelled."""
        return None
