"""Text to token ids and back: UTF-8 bytes, a `tokenizer.json`, or a SentencePiece model."""

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from etils import epath

from data import system
from data.cache import is_remote

END_NAMES = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>", "[SEP]")


class Tokenizer(Protocol):
    """What the store and the sampler need of a tokenizer."""

    vocab_size: int
    """Ids are below this."""
    end_of_document: int
    """Id that ends every document; text never produces it."""
    digest: str
    """Hex digest of everything that decides the ids."""

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        """Ids of each text, without the end of document."""
        ...

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        """The text of ids; ends of documents vanish."""
        ...


class ByteTokenizer:
    """The 256 byte values of UTF-8, and 256 for the end of a document."""

    vocab_size = 257
    end_of_document = 256
    digest = hashlib.sha256(b"bytes").hexdigest()

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        return [np.frombuffer(text.encode(), np.uint8) for text in texts]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        values = np.asarray(ids)
        return values[values < 256].astype(np.uint8).tobytes().decode(errors="replace")


class JsonTokenizer:
    """A `tokenizer.json` of the `tokenizers` library; special tokens in text are plain text."""

    def __init__(self, path: str) -> None:
        from tokenizers import Tokenizer as Fast

        content = _read(path)
        self.digest = hashlib.sha256(b"json" + content).hexdigest()
        try:
            self._fast = Fast.from_str(content.decode())
        except Exception as error:
            raise _unreadable(path, "a tokenizer.json", error) from error
        self._fast.no_truncation()
        self._fast.no_padding()
        self._fast.encode_special_tokens = True
        vocabulary = self._fast.get_vocab(with_added_tokens=True)
        self.vocab_size = max(vocabulary.values(), default=-1) + 1
        ends = [vocabulary[name] for name in END_NAMES if name in vocabulary]
        if not ends:
            raise _endless(path)
        self.end_of_document = ends[0]

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        encodings = self._fast.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(encoding.ids, np.uint32) for encoding in encodings]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        text_ids = [int(i) for i in ids if i != self.end_of_document]
        return self._fast.decode(text_ids, skip_special_tokens=False)


class PieceTokenizer:
    """A SentencePiece `.model`."""

    def __init__(self, path: str) -> None:
        from sentencepiece import SentencePieceProcessor

        content = _read(path)
        self.digest = hashlib.sha256(b"piece" + content).hexdigest()
        try:
            self._processor = SentencePieceProcessor(model_proto=content)
        except Exception as error:
            raise _unreadable(path, "a SentencePiece model", error) from error
        self.vocab_size = self._processor.vocab_size()
        self.end_of_document = self._processor.eos_id()
        if self.end_of_document < 0:
            raise _endless(path)

    def encode_batch(self, texts: list[str]) -> list[np.ndarray]:
        return [np.array(ids, np.uint32) for ids in self._processor.encode(texts)]

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return self._processor.decode([int(i) for i in ids if i != self.end_of_document])


def load_tokenizer(spec: str) -> Tokenizer:
    """The tokenizer `data.tokenizer` names; ValueError if it cannot be read."""
    if spec == "bytes":
        return ByteTokenizer()
    if spec.endswith(".json"):
        return JsonTokenizer(spec)
    if spec.endswith(".model"):
        return PieceTokenizer(spec)
    raise ValueError(
        f"data.tokenizer={spec!r} must be 'bytes' or a path that ends in .json or .model, because "
        "the ending says which library reads it; try 'bytes'"
    )


def visible(text: str) -> str:
    """Text for people: control characters other than newline and tab as `\\x1b`, since a terminal
    would obey them."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def _read(path: str) -> bytes:
    try:
        if is_remote(path) and not os.path.lexists(path):
            return epath.Path(path).read_bytes()
        local = system.expanded("data.tokenizer", path)
        system.require_regular(local)
        return Path(local).read_bytes()
    except OSError as error:
        raise _unreadable(path, "a file", error) from error


def _unreadable(path: str, what: str, error: Exception) -> ValueError:
    return ValueError(
        f"data.tokenizer={path!r} must be {what}, because it is read now and failed with "
        f"{type(error).__name__}: {error}; try `meshloom data tokenizer` to make one"
    )


def _endless(path: str) -> ValueError:
    return ValueError(
        f"data.tokenizer={path!r} must hold a token that ends a document (one of "
        f"{', '.join(END_NAMES)}), because documents are joined into one stream; "
        "try `meshloom data tokenizer` to make one that does"
    )
