"""A part of a sequence as text: what all of it is without what came before."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from vocabularies import byte_fallback, byte_level, pieces, without_unknown, word_piece

from data.text import TextStream, token_sizes
from data.tokenizer import Tokenizer, load_tokenizer

LOSSLESS = ("bytes", "byte_level", "byte_fallback", "pieces")
KINDS = (*LOSSLESS, "stripped", "word_piece", "without_unknown")
WORDS = st.lists(st.sampled_from(["alpha", "ba", " ", "  ", "\n", "\u65e5\u672c", "\u00e4", "."]))
TEXTS = st.one_of(
    WORDS.map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\u2581")),
)


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


@pytest.mark.parametrize("kind", LOSSLESS)
@given(text=TEXTS)
def test_bytes_of_tokens_add_up_to_the_text(
    load: Callable[[str], Tokenizer], kind: str, text: str
) -> None:
    tokenizer = load(kind)
    first, inner = token_sizes(tokenizer)
    (ids,) = (encoded.astype(int) for encoded in tokenizer.encode_batch([text]))
    assert tokenizer.decode_batch([ids]) == [text]
    assert first[ids[:1]].sum() + inner[ids[1:]].sum() == len(text.encode())
    assert first[tokenizer.end.id] == inner[tokenizer.end.id] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_what_decoding_keeps(load: Callable[[str], Tokenizer], kind: str) -> None:
    tokenizer = load(kind)
    first, inner = token_sizes(tokenizer)
    text = "alpha beta gamma alpha ba"
    (ids,) = (encoded.astype(int) for encoded in tokenizer.encode_batch([text]))
    assert tokenizer.decode_batch([ids]) == [text]
    assert first[ids[0]] + inner[ids[1:]].sum() == len(text)


def test_unknown_tokens_have_no_bytes(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(without_unknown(tmp_path / "u.json", "<unk>")))
    (ids,) = tokenizer.encode_batch(["ba \u65e5 ba"])
    assert tokenizer.unknown in ids
    first, inner = token_sizes(tokenizer)
    assert first[ids[0]] + inner[ids[1:].astype(int)].sum() == len("ba  ba")
