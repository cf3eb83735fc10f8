"""JSON lines, plain or compressed: a line is a document."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from data.sources.compressed import PACKED
from data.sources.lines import lines
from data.sources.paths import Paths
from data.sources.record import fields_of
from data.sources.source import PIECE, Piece, Record, Unreadable
from data.sources.utf8 import BOM, decoded

WORD = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]|[^"\[\]{}]+|"', re.DOTALL)
"""A string, a bracket, or what lies between them."""


class Jsonl(Paths):
    """`jsonl:GLOB`."""

    has_fields = True

    def divide_file(self, file: str, size: int) -> list[Piece]:
        """Byte ranges of a plain file; a compressed file is one piece."""
        if file.endswith(PACKED):
            return [Piece(file=file, start=0, stop=size, size=size)]
        ranges = [(start, min(start + PIECE, size)) for start in range(0, size, PIECE)]
        return [Piece(file=file, start=a, stop=b, size=b - a) for a, b in ranges]

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        """Lines that begin in the piece; a byte order mark before the first is no part of it."""
        whole = piece.file.endswith(PACKED)
        bounds = (0, sys.maxsize) if whole else (piece.start, piece.stop)
        for line, place in lines(piece.file, *bounds):
            mark = len(BOM) if place == 0 and line.startswith(BOM) else 0
            if line[mark:].strip():
                where = f"the line at byte {place}"
                value = _value(decoded(line[mark:], place + mark), fields, where)
                yield Record(fields_of(value, fields, where), piece.file, place, where)


def _value(text: str, fields: Sequence[str], where: str) -> Any:
    """The JSON value of a line, whose own fields are whole."""
    outermost: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal outermost
        outermost = pairs
        return dict(pairs)

    # Only where the name may stand twice, or be spelt by escapes, is it worth the time.
    twice = any(text.count(f'"{field}"') > 1 for field in fields)
    hook = keep if twice or "\\u" in text else None
    try:
        try:
            record = json.loads(text, object_pairs_hook=hook)
        except RecursionError:
            record = json.loads(_shallow(text), object_pairs_hook=hook, parse_int=float)
        except ValueError as error:
            if isinstance(error, json.JSONDecodeError):
                raise
            # Python makes no int of more than 4,300 digits.
            record = json.loads(text, object_pairs_hook=hook, parse_int=float)
    except json.JSONDecodeError as error:
        raise Unreadable(
            f"{where} is no JSON ({error.msg} at its column {error.colno}), perhaps cut off"
        ) from error
    names = [name for name, _ in outermost] if isinstance(record, dict) else []
    for field in fields:
        if names.count(field) > 1:
            raise Unreadable(f"{where} has the field {field!r} more than once")
    return record


def _shallow(text: str) -> str:
    """JSON with nothing in the lists and objects that its fields hold: they may be nested deeper
    than Python's parser goes."""
    opened: list[str] = []
    kept: list[str] = []
    for match in WORD.finditer(text):
        word = match[0]
        if word == '"':
            raise json.JSONDecodeError("Unterminated string", text, match.start())
        if word in ("]", "}") and (not opened or opened.pop() + word not in ("[]", "{}")):
            raise json.JSONDecodeError("Bracket that closes nothing", text, match.start())
        if len(opened) < 2:
            kept.append(word)
        if word in ("[", "{"):
            opened.append(word)
    if opened:
        raise json.JSONDecodeError("Bracket that is not closed", text, len(text))
    return "".join(kept)
