"""What a tokenizer loses of a text is counted, said, and refused above a share."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.config import DataConfig
from data.rows.tokens import open_windows
from data.tokenizer import load_tokenizer
from tests.vocabularies import byte_fallback, byte_level, changed, pieces, without_unknown, words


def config_of(folder: Path, tokenizer: Path, texts: list[str], **fields: float) -> DataConfig:
    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return DataConfig(
        sources=(f"jsonl:{folder}/a.jsonl",),
        tokenizer=str(tokenizer),
        cache_dir=str(folder / "cache"),
        sequence_length=4,
        held_out=0,
        **fields,  # pyright: ignore[reportArgumentType]
    )


@pytest.mark.parametrize(
    ("unknown", "tokens"), [(None, "0 unknown tokens"), ("<unk>", "16 unknown tokens")]
)
def test_lost_characters_are_counted_and_refused(
    tmp_path: Path, unknown: str | None, tokens: str
) -> None:
    path = without_unknown(tmp_path / "t.json", unknown)
    config = config_of(tmp_path, path, ["ba de ba", *["ba \u65e5\u672c de"] * 8])
    message = (
        rf"of 72 characters of 'jsonl:.*' it loses or replaces 16 \(0\.22; .*=0\.001\), with "
        rf"{tokens}; the first are '\u65e5' '\u672c' in .*a\.jsonl at \d+; try .* "
        r"--data\.lost-characters 1 "
    )
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            config.open_rows("train", report=lambda line: None)
    said: list[str] = []
    replace(config, lost_characters=1.0).open_rows("train", report=said.append)
    assert any("16 of 72 characters (0.22) are lost or replaced" in line for line in said)
    with pytest.raises(ValueError, match=r"it loses or replaces 16 \(0\.22; .*=0\.2\)"):
        replace(config, lost_characters=0.2).open_rows("train", report=lambda line: None)


def test_the_name_of_the_unknown_token_gives_no_lost_letter_back(tmp_path: Path) -> None:
    config = config_of(tmp_path, words(tmp_path / "t.json"), ["ba knu de"] * 8)
    message = r"of 72 characters .* it loses or replaces 32 .*, with 8 unknown .* 'k' 'n' 'u' in"
    with pytest.raises(ValueError, match=message):
        config.open_rows("train", report=lambda line: None)


def test_documents_without_a_character_are_left_out_and_said(tmp_path: Path) -> None:
    said: list[str] = []
    config = config_of(tmp_path, Path("bytes"), ["text", "", "more", ""])
    assert open_windows(config, "train", said.append).num_documents == 2
    assert any("2 documents without a character are left out" in line for line in said)


def test_a_store_older_than_the_count_says_so(tmp_path: Path) -> None:
    path = byte_level(tmp_path / "l.json", "<eos>")
    config = config_of(tmp_path, path, ["ba"] * 8)
    config.open_rows("train", report=lambda line: None)
    (manifest,) = (tmp_path / "cache" / "stores").glob("*/manifest.json")
    content = json.loads(manifest.read_text())
    del content["text"]
    manifest.write_text(json.dumps(content))
    said: list[str] = []
    config.open_rows("train", report=said.append)
    assert any(f"remove {manifest.parent} to have them made again" in line for line in said)


def test_a_text_of_no_tokens_is_refused_with_its_place(tmp_path: Path) -> None:
    path = without_unknown(tmp_path / "t.json")
    content = json.loads(path.read_text())
    content["pre_tokenizer"] = content["decoder"] = None
    path.write_text(json.dumps(content))
    config = config_of(tmp_path, path, ["ba", "\u65e5"], lost_characters=1.0)
    with pytest.raises(ValueError, match=r"must make tokens of every .* at 15 of .*a\.jsonl gives"):
        config.open_rows("train", report=lambda line: None)


@pytest.mark.parametrize("role", ["begin", "end"])
def test_a_store_whose_text_holds_a_boundary_is_refused(tmp_path: Path, role: str) -> None:
    """Text is checked when its tokens are made, and a flag may name another token later."""
    path = byte_fallback(tmp_path / "t.json")
    config = config_of(tmp_path, path, ["ba \u65e5 de"] * 8)
    config.open_rows("train", report=lambda line: None)
    flags: dict[str, str] = {f"{role}_token": "<0xE6>"}
    flagged = replace(config, **flags)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=rf"must not make the {role} token '<0xE6>' .* of jsonl:"):
        flagged.open_rows("train", report=lambda line: None)


def test_what_comes_back_is_not_mentioned(tmp_path: Path) -> None:
    for path in (pieces(tmp_path / "p.model"), byte_level(tmp_path / "l.json", "<eos>")):
        config = config_of(tmp_path, path, ["  ba \u65e5\n\tx"] * 9)
        said: list[str] = []
        config.open_rows("train", report=said.append)
        assert said and not [line for line in said if "lost" in line]


def test_dropout_is_switched_off_said_and_in_the_digest(tmp_path: Path) -> None:
    path = byte_level(tmp_path / "l.json", "<eos>")
    random = changed(path, tmp_path / "random.json", dropout=0.5)
    steady, tokenizer = load_tokenizer(str(path)), load_tokenizer(str(random))
    texts = ["alpha beta gamma ba de fi go"] * 50
    for ids, wanted in zip(tokenizer.encode_batch(texts), steady.encode_batch(texts), strict=True):
        np.testing.assert_array_equal(ids, wanted)
    said: list[str] = []
    config_of(tmp_path, random, texts).open_rows("train", report=said.append)
    assert re.search(r"random\.json: its BPE dropout of 0\.5 is switched off", "\n".join(said))
    assert not load_tokenizer(str(path)).notes
    # Stores that were made with the dropout are not taken for what is read without it.
    content = random.read_bytes()
    import hashlib

    assert tokenizer.digest != hashlib.sha256(b"json" + content).hexdigest()
