"""A part of a sequence as text: what all of it is without what came before."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.text import CONTEXT, TextStream, text_bytes
from data.tokenizer import Tokenizer, load_tokenizer
from tests.vocabularies import (
    byte_fallback,
    byte_level,
    pieces,
    suffixed,
    without_unknown,
    word_piece,
    words,
)

LOSSLESS = ("bytes", "byte_level", "byte_fallback", "pieces")
KINDS = (*LOSSLESS, "stripped", "word_piece", "without_unknown", "suffixed", "words", "nested")
WORDS = st.lists(st.sampled_from(["alpha", "ba", " ", "  ", "\n", "\u65e5\u672c", "\u00e4", "."]))
TEXTS = st.one_of(
    WORDS.map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\u2581")),
)


def nested(path: Path) -> Path:
    """The same decoder inside a sequence of decoders."""
    content = json.loads(path.read_text())
    content["decoder"] = {"type": "Sequence", "decoders": [content["decoder"]]}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tokenizer]:
    folder: Path = tmp_path_factory.mktemp("tokenizers")
    files = {
        "bytes": "bytes",
        "byte_level": byte_level(folder / "l.json", "<eos>"),
        "byte_fallback": byte_fallback(folder / "f.json"),
        "pieces": pieces(folder / "p.model"),
        "stripped": pieces(folder / "s.model", "nmt_nfkc", keep_blanks=False),
        "word_piece": word_piece(folder / "w.json"),
        "without_unknown": without_unknown(folder / "n.json"),
        "suffixed": suffixed(folder / "e.json"),
        "words": words(folder / "v.json"),
        "nested": nested(byte_level(folder / "b.json", "<eos>")),
    }
    loaded = {kind: load_tokenizer(str(path)) for kind, path in files.items()}
    return loaded.__getitem__


@pytest.mark.parametrize("kind", KINDS)
@example(texts=("alpha beta", " gamma"), cuts=[1])
@example(texts=("\u65e5", "\u672c \u65e5"), cuts=[1, 1, 1, 1])
@example(texts=("  ", "  alpha"), cuts=[1, 1, 1])
@given(texts=st.tuples(TEXTS, TEXTS), cuts=st.lists(st.integers(0, 5), max_size=9))
def test_pieces_join_to_the_text_of_all(
    load: Callable[[str], Tokenizer], kind: str, texts: tuple[str, str], cuts: list[int]
) -> None:
    tokenizer = load(kind)
    before, after = ([int(id) for id in ids] for ids in tokenizer.encode_batch(list(texts)))
    known, whole = tokenizer.decode_batch([before, before + after])
    for start in ([], before):
        stream, left = TextStream(tokenizer, start), after if start else before + after
        parts = []
        for cut in cuts:
            parts.append(stream.add(left[:cut]))
            left = left[cut:]
        said = "".join([*parts, stream.add(left), stream.close()])
        assert "\ufffd" not in said or "\ufffd" in "".join(texts)
        if whole.startswith(known):
            assert (known if start else "") + said == whole


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS, cuts=st.lists(st.integers(1, 9), max_size=9))
def test_bytes_of_parts_add_up_to_the_text(
    load: Callable[[str], Tokenizer], kind: str, text: str, cuts: list[int]
) -> None:
    tokenizer = load(kind)
    (ids,) = tokenizer.encode_batch([text])
    (back,) = tokenizer.decode_batch([ids])
    assert back == text or kind not in LOSSLESS
    total, start = 0, 0
    for cut in [*cuts, len(ids)]:
        before = ids[max(start - CONTEXT, 0) : start]
        total += text_bytes(tokenizer, before, ids[start : start + cut])
        start += cut
    assert total == len(back.encode())


def test_bytes_of_a_long_run_of_byte_tokens(load: Callable[[str], Tokenizer]) -> None:
    """Their decoder makes nothing of a run that begins or ends inside a character."""
    tokenizer = load("byte_fallback")
    (ids,) = tokenizer.encode_batch(["\u65e5" * 200])
    for cut in (1, 2, 3, 50, 97):
        starts = range(0, len(ids), cut)
        parts = [(ids[max(s - CONTEXT, 0) : s], ids[s : s + cut]) for s in starts]
        assert sum(text_bytes(tokenizer, *part) for part in parts) == 600
