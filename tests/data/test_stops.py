"""A text ends before the stop string that is complete first, however its pieces are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import UserError
from data.stops import StoppedText

TEXTS = st.text("ab.", max_size=12)
STOPS = st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3)


def shown(pieces: list[str], stops: list[str]) -> tuple[list[str], bool]:
    """What is out after each piece, and whether the text was stopped."""
    text, out = StoppedText(stops), [""]
    for piece in pieces:
        out.append(out[-1] + text.add(piece))
    return [*out, out[-1] + text.close()], text.stopped


@given(pieces=st.lists(TEXTS, max_size=5), stops=STOPS)
def test_pieces_do_not_matter_and_nothing_is_shown_too_early(
    pieces: list[str], stops: list[str]
) -> None:
    whole = "".join(pieces)
    ends = [n for n in range(len(whole) + 1) if any(whole[:n].endswith(stop) for stop in stops)]
    wanted = whole
    if ends:
        longest = max(len(stop) for stop in stops if whole[: ends[0]].endswith(stop))
        wanted = whole[: ends[0] - longest]
    out, stopped = shown(pieces, stops)
    assert out[-1] == wanted and stopped == bool(ends)
    assert all(wanted.startswith(early) for early in out)


def test_only_what_may_begin_a_stop_string_is_kept_back() -> None:
    out, _ = shown(["one\nUs", "er", " two\nUser:", " three"], ["\nUser:"])
    assert out == ["", "one", "one", "one\nUser two", "one\nUser two", "one\nUser two"]


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(UserError, match="stop='' must have a character, because"):
        StoppedText(["x", ""])
