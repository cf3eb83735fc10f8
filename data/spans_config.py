"""Data of text of which spans are cut out. Imports no grain, so that `--help` stays fast."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from annotated_types import Interval

from data.config import TextConfig, to_stderr
from data.rows import table as rows_table

if TYPE_CHECKING:
    from data.batch import Batch
    from data.rows.rows import Rows, Split


class SpanCounts(NamedTuple):
    """What is cut out of a text."""

    noise: int
    """Tokens, in all spans."""
    spans: int


@dataclass(frozen=True, kw_only=True)
class SpansConfig(TextConfig):
    """Text of whose rows spans are cut out, each to be written after the sentinel that stands in
    its place (Raffel et al. 2020, section 3.1.4).

    Documents follow each other in a row without a border, as in T5's training.
    """

    kind: Literal["spans"] = "spans"
    """What the rows ask for: the spans that were cut out."""
    sequence_length: Annotated[int, Interval(ge=4, le=1_000_000)] = 256
    """S, tokens of a row's source: what is left of the text, a sentinel for each span, and the end
    token. How much text that is and how long targets are, follows."""
    noise_share: Annotated[float, Interval(ge=0.001, le=0.9)] = 0.15
    """Share of the tokens that are cut out."""
    span_length: Annotated[float, Interval(ge=1, le=1000)] = 3.0
    """Tokens of a span on average."""

    packing = True

    @property
    def window_length(self) -> int:
        """Tokens of text that a row is made of: as many as its source has room for (568 of 512)."""
        tokens = self.sequence_length - 1
        while self.source_length(tokens + 1) <= self.sequence_length:
            tokens += 1
        return tokens

    @property
    def written_length(self) -> int:
        """T, tokens of a row's targets: the spans, a sentinel before each, and the end token (114
        for a source of 512)."""
        noise, spans = self.cut_out(self.window_length)
        return noise + spans + 1

    def cut_out(self, tokens: int) -> SpanCounts:
        """What is cut out of so many tokens: of fewer than 2, nothing."""
        noise = min(max(round(tokens * self.noise_share), 1), max(0, tokens - 1))
        spans = max(round(noise / self.span_length), 1)
        return SpanCounts(noise, min(spans, noise, tokens - noise))

    def source_length(self, tokens: int) -> int:
        """Tokens of the source that is made of so many."""
        noise, spans = self.cut_out(tokens)
        return tokens - noise + spans + 1

    @property
    def scored_share(self) -> float:
        return self.written_length / self.sequence_length

    def open_rows(self, split: "Split", *, report: Callable[[str], None] = to_stderr) -> "Rows":
        """The `data.rows.spans.SpanWindows` of a split."""
        return rows_table.open_rows("spans", self, split, report)

    def batch_shapes(self, batch_size: int) -> "Batch":
        """A batch of that size in shapes and types alone."""
        return rows_table.batch_shapes("spans", self, batch_size)
