"""What the names of a vocabulary's pieces say of them."""

import re
from collections.abc import Mapping

import numpy as np

MASKS = ("[MASK]", "<mask>", "<|mask|>")
"""What published tokenizers call the token that hides others."""
SPACES = ("\u2581", "\u0120")
"""What stands for the space before a word in pieces, of SentencePiece and of byte-level BPE."""


def continues(
    names: Mapping[str, int], special: frozenset[int], size: int, prefix: str | None
) -> np.ndarray:
    """Whether each piece goes on with a word, [V]: with WordPiece's prefix, or where words have
    a mark of their space, if it begins with a letter or digit and no mark."""
    inside = np.zeros(size, bool)
    for name, id in names.items():
        if byte := re.fullmatch(r"<0x([0-9A-F]{2})>", name):
            goes_on = is_of_a_word(int(byte[1], 16))
        else:
            goes_on = name.startswith(prefix) if prefix else name[:1].isalnum()
        inside[id] = goes_on and id not in special and not name.startswith(SPACES)
    return inside


def is_of_a_word(byte: int) -> bool:
    """Whether a byte of UTF-8 is a letter or digit, or a part of a character that may be one."""
    return byte > 127 or chr(byte).isalnum()
