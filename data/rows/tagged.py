"""Rows of words, each with a tag, which stands at the word's first token."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.batch import Batch, TaggedRows
from data.cache import digest_of
from data.config import to_stderr
from data.errors import UserError
from data.examples_config import TaggedConfig
from data.rows.examples import (
    ExampleRows,
    encoded_texts,
    framed_length,
    texts_of,
)
from data.rows.predictor import Example, Predictor
from data.rows.records import counted, read_examples
from data.rows.rows import Split
from data.scores import of_tags
from data.tokenizer import Tokenizer

SHOWN = 3
"""Sentences at the end of a run."""


def open_tagged(
    config: TaggedConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "TaggedWords":
    """The rows of a split; ValueError, with the record's place, for tags that cannot be learnt."""
    tokenizer = config.load_tokenizer()
    fields = [config.words_field, config.tags_field]
    splits, digest = read_examples(
        config, fields, lambda e: " ".join(map(str, e.values[config.words_field])), report
    )
    seen = {tag for example in splits["train"] for tag in pair_of(config, example)[1]}
    names = config.tags or tuple(sorted(seen))
    if len(names) < 2:
        raise UserError(
            f"data.tags_field={config.tags_field!r} must hold at least 2 tags, because there is "
            f"nothing to learn of one, but all words have {', '.join(names) or 'none'}; try "
            "another field or other data"
        )
    for example in splits["held_out"] if split == "held_out" else ():
        for tag in pair_of(config, example)[1]:
            if tag not in seen:
                raise UserError(
                    f"tag {tag!r} in {example.origin} must be one of the training examples', "
                    f"because what is never seen is never learnt, and they have "
                    f"{', '.join(sorted(seen))}; try leaving that example out, or training on it"
                )
    return TaggedWords(config, split, tokenizer, splits[split], digest, names, report)


def pair_of(config: TaggedConfig, example: Example) -> tuple[list[str], list[str]]:
    """Words and tags of an example; ValueError unless they are as many lists of texts."""
    words, tags = (example.values[f] for f in (config.words_field, config.tags_field))
    for field, values in ((config.words_field, words), (config.tags_field, tags)):
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            raise UserError(
                f"field {field!r} must be a list of texts, because each word has a tag, but in "
                f"{example.origin} it is {str(values)[:60]!r}; try another field"
            )
    if len(words) != len(tags) or not words:
        raise UserError(
            f"{len(words)} words in {example.origin} must have as many tags, because each word has "
            f"one, but there are {len(tags)}; try repairing that example"
        )
    return words, tags


class Words:
    """The tokens of a sentence's words and where each word begins in the row."""

    def __init__(self, tokenizer: Tokenizer, words: Sequence[str], origin: str) -> None:
        # Words after the first have the blank before them that their tokenizer expects.
        texts = [words[0], *(f" {word}" for word in words[1:])]
        ids = encoded_texts(tokenizer, texts)
        for word, part in zip(words, ids, strict=True):
            if not len(part):
                raise UserError(
                    f"word {word!r} in {origin} must give a token, because its tag stands there; "
                    "try another tokenizer, or another word in its place"
                )
        self.ids = np.concatenate(ids)
        self.ends = 1 + np.cumsum([len(part) for part in ids])
        self.starts = np.concatenate([[1], self.ends[:-1]])


class TaggedWords(ExampleRows[TaggedRows]):
    """Sentences with a tag for each word. tags: their names by their numbers."""

    question = "tags"

    def __init__(
        self,
        config: TaggedConfig,
        split: Split,
        tokenizer: Tokenizer,
        examples: list[Example],
        digest: str,
        names: tuple[str, ...],
        report: Callable[[str], None],
    ) -> None:
        super().__init__(config, split, tokenizer, examples, digest)
        self.tags = names
        self.digest = digest_of(self.digest, "tags", names)
        numbers = {name: number for number, name in enumerate(names)}
        self._pairs = [pair_of(config, example) for example in examples]
        self._words, self._targets = [], []
        for example, (words, tags) in zip(examples, self._pairs, strict=True):
            self._words.append(Words(tokenizer, words, example.origin))
            for tag in tags:
                if tag not in numbers:
                    raise UserError(
                        f"tag {tag!r} in {example.origin} must be one of {', '.join(names)}, "
                        "because only these can be predicted; try adding it to --data.tags"
                    )
            self._targets.append(np.array([numbers[tag] for tag in tags], np.int32))
        self._kept = kept_words(config, self._words, lambda n: examples[n].origin, report)

    @property
    def outputs(self) -> int:
        return len(self.tags)

    def named_outputs(self) -> str:
        return ", ".join(self.tags[:8]) + ", ..." * (len(self.tags) > 8)

    def describe(self) -> list[str]:
        """Examples of an epoch, and how often each tag comes."""
        tags = [tag for _, each in self._pairs for tag in each]
        return [*super().describe(), "tags: " + counted(tags)]

    def batch(self, indices: np.ndarray) -> TaggedRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        shape = (len(indices), self._config.sequence_length)
        rows: list[Sequence[np.ndarray] | None] = [None] * len(indices)
        targets, weights = np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        for place, number in self.of_rows(indices):
            words, keep = self._words[number], self._kept[number]
            rows[place] = [kept_ids(words, keep)]
            targets[place, words.starts[:keep]] = self._targets[number][:keep]
            weights[place, words.starts[:keep]] = 1
        texts = texts_of(self._tokenizer, rows, shape[1], pairs=False)
        return TaggedRows(*texts, targets=targets, weights=weights)

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "names": list(self.tags)}

    def score(self, indices: np.ndarray, outputs: Any) -> Mapping[str, float]:
        """Measures of the scores [n, T, C] of these rows, which there are; a word that was cut off
        counts as tagged O, or else with the first tag."""
        numbers = [number for _, number in self.of_rows(indices)]
        predicted = [
            best_tags(outputs[row], self._words[n], self._kept[n], self.tags)
            for row, n in enumerate(numbers)
        ]
        return of_tags(predicted, [self._pairs[n][1] for n in numbers])

    def show(self, indices: np.ndarray, outputs: Any) -> list[str]:
        """Some sentences with their tags as the model gives them, and as they are right."""
        lines = []
        for row, number in list(self.of_rows(indices[:SHOWN])):
            words, right = self._pairs[number]
            said = best_tags(outputs[row], self._words[number], self._kept[number], self.tags)
            lines += [tagged_line(words, said), f"  right: {tagged_line(words, right)}"]
        return lines


class TagPredictor(Predictor):
    """Other sentences, asked for the tag of each word. names: the tags by their numbers."""

    def __init__(self, config: TaggedConfig, tokenizer: Tokenizer, names: Sequence[str]) -> None:
        self._config, self._tokenizer, self._names = config, tokenizer, names
        self.fields = [config.words_field]

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> TaggedRows:
        words, kept = self._words(inputs, report)
        rows = [[kept_ids(each, keep)] for each, keep in zip(words, kept, strict=True)]
        shape = (len(rows), self._config.sequence_length)
        return TaggedRows(
            *texts_of(self._tokenizer, rows, shape[1], pairs=False),
            targets=np.zeros(shape, np.int32),
            weights=np.ones(shape, np.float32),
        )

    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """The tag of each word."""
        rows = zip(inputs, outputs, *self._words(inputs, lambda line: None), strict=True)
        return [
            {
                "words": words_of(each, self._config),
                "tags": best_tags(scores, words, keep, self._names),
            }
            for each, scores, words, keep in rows
        ]

    def shown(self, values: Mapping[str, Any], answer: Mapping[str, Any]) -> str:
        """The sentence, with what is tagged in brackets."""
        return tagged_line(answer["words"], answer["tags"])

    def _words(
        self, inputs: Sequence[Example], report: Callable[[str], None]
    ) -> tuple[list[Words], list[int]]:
        words = [
            Words(self._tokenizer, words_of(each, self._config), each.origin) for each in inputs
        ]
        return words, kept_words(self._config, words, lambda n: inputs[n].origin, report)


def open_tag_predictor(
    config: TaggedConfig, tokenizer: Tokenizer, meta: Mapping[str, Any]
) -> TagPredictor:
    """How the run of this config, whose checkpoint has that meta, is asked other sentences."""
    return TagPredictor(config, tokenizer, meta["names"])


def tagged_line(words: Sequence[str], tags: Sequence[str]) -> str:
    """The sentence, with what has a tag other than O in brackets."""
    pairs = zip(words, tags, strict=True)
    return " ".join(word if tag == "O" else f"[{word} {tag}]" for word, tag in pairs)


def words_of(example: Example, config: TaggedConfig) -> list[str]:
    """The words of an input, which may be a text of words with blanks between."""
    value = example.values[config.words_field]
    words: list[str] = value.split() if isinstance(value, str) else list(value)
    if not words:
        raise UserError(f"{example.origin} must have a word, because words are tagged; try a text")
    return words


def best_tags(scores: np.ndarray, words: Words, keep: int, names: Sequence[str]) -> list[str]:
    """The tag of each word, from the scores [T, C] of a row that holds `keep` of them; of a word
    that was cut off, O or else the first."""
    nothing = "O" if "O" in names else names[0]
    best = np.argmax(scores[words.starts[:keep]], axis=-1)
    said = [names[int(n)] for n in best]
    return said + [nothing] * (len(words.starts) - keep)


def kept_words(
    config: Any,
    sentences: Sequence[Words],
    names: Callable[[int], str],
    report: Callable[[str], None],
) -> list[int]:
    """How many words of each sentence fit into a row, all unless `data.too_long` is cut."""
    T = config.sequence_length
    lengths = [framed_length([words.ids]) for words in sentences]
    long = [n for n, length in enumerate(lengths) if length > T]
    if long and config.too_long == "refuse":
        raise UserError(
            f"data.sequence_length={T} must be at least {max(lengths)}, because the longest "
            f"sentence has so many tokens, and {len(long):,} of {len(sentences):,} are longer than "
            f"a row: the first is {names(long[0])}; try --data.sequence-length {max(lengths)}, or "
            "--data.too-long cut, which leaves out their last words"
        )
    if long:
        report(
            f"data: {len(long):,} of {len(sentences):,} sentences are longer than {T} tokens and "
            f"cut, the first {names(long[0])}; the longest has {max(lengths):,}"
        )
    return [int((words.ends < T).sum()) for words in sentences]


def kept_ids(words: Words, keep: int) -> np.ndarray:
    """The tokens of the first `keep` words."""
    return words.ids[: words.ends[keep - 1] - 1] if keep else words.ids[:0]


def tagged_shapes(config: TaggedConfig, batch_size: int) -> Batch:
    """A batch of that size in shapes and types alone."""
    shape = (batch_size, config.sequence_length)
    ids = np.broadcast_to(np.int32(0), shape)
    return TaggedRows(ids, ids, None, ids, np.broadcast_to(np.float32(0), shape))
