"""Text to token ids and back: UTF-8 bytes, a `tokenizer.json`, or a SentencePiece model."""

import hashlib
import re
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple, Protocol

import numpy as np

from data import tokenizer_file
from data.errors import UserError
from data.pieces import MASKS, continues, is_of_a_word
from data.special_tokens import Boundary, Vocabulary, added_tokens, boundaries

Ids = Sequence[int] | np.ndarray


class Placed(NamedTuple):
    """Ids of a text, and the characters of it, first and first after, that each stands for."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Tokenizer(Protocol):
    """What rows, stores and the sampler need of a tokenizer."""

    vocab_size: int
    """Ids are below this."""
    begin: Boundary
    """Input before the first token of every document."""
    end: Boundary
    """Target after the last token of every document; also where text ends that is generated."""
    unknown: int | None
    """Id that stands for whatever the vocabulary does not hold."""
    special: frozenset[int]
    """Ids that stand for no text."""
    mask: int | None
    """Id of the token that hides others, if there is one."""
    digest: str
    """Hex digest of everything that decides the ids of a text."""
    notes: Sequence[str]
    """What a user should know of how the file is read."""

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """Ids of each text, without begin and end."""
        ...

    def encode_marked(self, text: str) -> np.ndarray:
        """Ids of a text in which the names of special tokens stand for these."""
        ...

    def place_batch(self, texts: list[str]) -> list[Placed]:
        """Ids of each text, as from `encode_batch`, with the characters they stand for."""
        ...

    def decode_batch(self, sequences: Sequence[Ids]) -> list[str]:
        """The text of each sequence of ids; begin and end are no text."""
        ...

    def continues_word(self) -> np.ndarray:
        """Whether the token of each id goes on with the word of the one before it, bool [V]."""
        ...


class ByteTokenizer:
    """The 256 byte values of UTF-8, 256 between documents, and 257 where something is hidden."""

    vocab_size = 257
    begin = end = Boundary(256, "token 256", "")
    unknown: int | None = None
    special = frozenset({256})
    mask: int | None = 257
    digest = hashlib.sha256(b"bytes").hexdigest()
    notes: Sequence[str] = ()

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode(), np.uint8) for text in texts]

    def encode_marked(self, text: str) -> np.ndarray:
        return self.encode_batch([text])[0]

    def place_batch(self, texts: list[str]) -> list[Placed]:
        placed = []
        for text, ids in zip(texts, self.encode_batch(texts), strict=True):
            sizes = [len(character.encode()) for character in text]
            starts = np.repeat(np.arange(len(text)), sizes)
            placed.append(Placed(ids, starts, starts + 1))
        return placed

    def decode_batch(self, sequences: Sequence[Ids]) -> list[str]:
        return [_decode_bytes(np.asarray(ids)) for ids in sequences]

    def continues_word(self) -> np.ndarray:
        return np.array([*map(is_of_a_word, range(256)), False])


class JsonTokenizer:
    """A `tokenizer.json` of the `tokenizers` library; special tokens in text are plain text."""

    def __init__(self, path: str, begin_token: str | None, end_token: str | None) -> None:
        from tokenizers import Tokenizer as Fast

        content = tokenizer_file.read(path)
        try:
            self._fast = Fast.from_str(content.decode())
        except Exception as error:
            raise tokenizer_file.unreadable(path, "a tokenizer.json", error) from error
        self.digest = hashlib.sha256(b"json" + content).hexdigest()
        self.notes: Sequence[str] = ()
        if dropout := getattr(self._fast.model, "dropout", None):
            self._fast.model.dropout = None
            self.digest = hashlib.sha256(b"json without dropout" + content).hexdigest()
            self.notes = [
                f"{path}: its BPE dropout of {dropout:g} is switched off, so that a text has the "
                "same tokens each time"
            ]
        self._fast.no_truncation()
        self._fast.no_padding()
        self._fast.encode_special_tokens = True
        vocabulary = self._fast.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        added = self._fast.get_added_tokens_decoder()
        named = {token.content: id for id, token in sorted(added.items()) if token.special}
        self.special = frozenset(named.values())
        ordinary = {name: id for name, id in vocabulary.items() if name not in named}
        before, after = _template(self._fast)
        self.begin, self.end = boundaries(
            Vocabulary(path, named, before, after, ordinary), begin_token, end_token
        )
        self.mask = next((named[name] for name in MASKS if name in named), None)
        model = self._fast.model
        self.unknown: int | None = vocabulary.get(getattr(model, "unk_token", None) or "")
        if self.unknown is None:
            self.unknown = getattr(model, "unk_id", None)

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        encodings = self._fast.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    def encode_marked(self, text: str) -> np.ndarray:
        self._fast.encode_special_tokens = False
        try:
            return np.array(self._fast.encode(text, add_special_tokens=False).ids, np.uint32)
        finally:
            self._fast.encode_special_tokens = True

    def place_batch(self, texts: list[str]) -> list[Placed]:
        encodings = self._fast.encode_batch(texts, add_special_tokens=False)
        return [
            Placed(np.array(each.ids, np.uint32), *np.array(each.offsets, int).reshape(-1, 2).T)
            for each in encodings
        ]

    def decode_batch(self, sequences: Sequence[Ids]) -> list[str]:
        texts = [_text_ids(ids, self) for ids in sequences]
        return self._fast.decode_batch(texts, skip_special_tokens=False)

    def continues_word(self) -> np.ndarray:
        prefix = getattr(self._fast.model, "continuing_subword_prefix", None)
        return continues(self._fast.get_vocab(), self.special, self.vocab_size, prefix)


class PieceTokenizer:
    """A SentencePiece `.model`."""

    def __init__(self, path: str, begin_token: str | None, end_token: str | None) -> None:
        from sentencepiece import SentencePieceProcessor

        content = tokenizer_file.read(path)
        self.digest = hashlib.sha256(b"piece" + content).hexdigest()
        self.notes: Sequence[str] = ()
        try:
            self._processor = SentencePieceProcessor(model_proto=content)
        except Exception as error:
            raise tokenizer_file.unreadable(path, "a SentencePiece model", error) from error
        self.vocab_size = self._processor.vocab_size()
        self.unknown: int | None = self._processor.unk_id()
        self._pieces = self.vocab_size
        names = {self._processor.id_to_piece(id): id for id in range(self._pieces)}
        named = {name: id for name, id in names.items() if self._processor.is_control(id)}
        added = {name: id for name, id in added_tokens(path).items() if id >= self._pieces}
        named |= added
        self.vocab_size = max(added.values(), default=self.vocab_size - 1) + 1
        self.special = frozenset(named.values())
        self.mask = next((named[name] for name in MASKS if name in named), None)
        self._names, self._named = names, named
        ordinary = {name: id for name, id in names.items() if name not in named}
        end_id = self._processor.eos_id()
        after = [end_id] if end_id >= 0 else []
        self.begin, self.end = boundaries(
            Vocabulary(path, named, [], after, ordinary), begin_token, end_token
        )

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        return [np.array(ids, np.uint32) for ids in self._processor.encode(texts)]

    def encode_marked(self, text: str) -> np.ndarray:
        marks = "|".join(map(re.escape, sorted(self._named, key=len, reverse=True)))
        parts = re.split(f"({marks})", text) if marks else [text]
        ids = [
            [self._named[part]] if part in self._named else self._processor.encode(part)
            for part in parts
        ]
        return np.array([*chain.from_iterable(ids)], np.uint32)

    def place_batch(self, texts: list[str]) -> list[Placed]:
        placed = []
        for text, proto in zip(
            texts, self._processor.encode(texts, return_type="proto"), strict=True
        ):
            # The library counts bytes.
            sizes = [len(character.encode()) for character in text]
            character = np.append(np.repeat(np.arange(len(text)), sizes), len(text))
            pieces = [(piece.id, piece.begin, piece.end) for piece in proto.pieces]
            ids, starts, ends = np.array(pieces, int).reshape(-1, 3).T
            placed.append(Placed(ids.astype(np.uint32), character[starts], character[ends]))
        return placed

    def decode_batch(self, sequences: Sequence[Ids]) -> list[str]:
        texts = [[id for id in _text_ids(ids, self) if id < self._pieces] for ids in sequences]
        return [self._processor.decode(ids) for ids in texts]

    def continues_word(self) -> np.ndarray:
        return continues(self._names, self.special, self.vocab_size, None)


def load_tokenizer(
    spec: str, begin_token: str | None = None, end_token: str | None = None
) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names, with the tokens that begin and end documents.

    ValueError if it cannot be read, or if it has no such tokens.
    """
    if spec == "bytes":
        _refuse_tokens_of_bytes(begin_token, end_token)
        return ByteTokenizer()
    if spec.endswith(".json"):
        return JsonTokenizer(spec, begin_token, end_token)
    if spec.endswith(".model"):
        return PieceTokenizer(spec, begin_token, end_token)
    raise UserError(
        f"data.tokenizer={spec!r} must be 'bytes' or a path that ends in .json or .model, because "
        "the ending says which library reads it; try 'bytes'"
    )


def identity(tokenizer: Tokenizer) -> str:
    """Hex digest of all that a model learns of a tokenizer: its ids, begin and end."""
    parts = (tokenizer.digest, tokenizer.begin.id, tokenizer.end.id)
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def documents(tokenizer: Tokenizer) -> str:
    """Which tokens documents begin and end with, and what decides it."""
    begin, end = (
        f"{token.name} ({token.id}, by {token.source})" if token.source else token.name
        for token in (tokenizer.begin, tokenizer.end)
    )
    if tokenizer.begin.id == tokenizer.end.id:
        return f"documents begin and end with {end}"
    return f"documents begin with {begin} and end with {end}"


def visible(text: str) -> str:
    """Text for people: control characters other than newline and tab as `\\x1b`, since a terminal
    would obey them."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda match: f"\\x{ord(match[0]):02x}", text)


def _template(fast) -> tuple[list[int], list[int]]:
    """Ids that a tokenizer's post-processor puts before and after a text."""
    for text in ("a", "0", *fast.get_vocab(with_added_tokens=False)):
        plain = fast.encode(text, add_special_tokens=False).ids
        framed = fast.encode(text, add_special_tokens=True).ids
        for start in range(len(framed) - len(plain) + 1) if plain else ():
            if framed[start : start + len(plain)] == plain:
                return framed[:start], framed[start + len(plain) :]
    return [], []


def _text_ids(ids: Ids, tokenizer: Tokenizer) -> list[int]:
    edges = (tokenizer.begin.id, tokenizer.end.id)
    return [int(id) for id in ids if id not in edges]


def _decode_bytes(values: np.ndarray) -> str:
    return values[values < 256].astype(np.uint8).tobytes().decode(errors="replace")


def _refuse_tokens_of_bytes(begin_token: str | None, end_token: str | None) -> None:
    for role, name in (("begin", begin_token), ("end", end_token)):
        if name is not None:
            raise UserError(
                f"data.{role}_token={name!r} must be left out with data.tokenizer='bytes', because "
                f"256 stands between documents there; try without --data.{role}-token"
            )
