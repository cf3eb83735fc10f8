"""The tokens between documents are those that the tokenizer's own files declare."""

import json
import re
from pathlib import Path

import pytest

from data.tokenizer import Tokenizer, identity, load_tokenizer
from tests.vocabularies import byte_fallback, byte_level, pieces, word_piece

DEEPSEEK = ("<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>")


def edges(tokenizer: Tokenizer) -> tuple[str, str]:
    return tokenizer.begin.name, tokenizer.end.name


@pytest.mark.parametrize(
    ("special", "end"),
    [
        (("<pad>", "<eos>", "<bos>"), "<eos>"),
        (DEEPSEEK, DEEPSEEK[0]),
        (("<PAD>", "<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>"), "<|END_OF_TURN_TOKEN|>"),
        (("[BOS]", "[EOS]"), "[EOS]"),
        (("<|im_start|>", "<|im_end|>", "<|endoftext|>"), "<|endoftext|>"),
    ],
)
def test_a_name_counts_only_if_the_token_is_special(
    tmp_path: Path, special: tuple[str, ...], end: str
) -> None:
    path = byte_level(tmp_path / "t.json", *special, ordinary=("<s>", "</s>", "<b>"))
    tokenizer = load_tokenizer(str(path))
    assert edges(tokenizer) == (end, end)
    (ids,) = tokenizer.encode_batch([f"</s> is HTML and {end} is text"])
    assert tokenizer.end.id not in ids
    assert tokenizer.decode_batch([ids]) == [f"</s> is HTML and {end} is text"]


@pytest.mark.parametrize(
    ("files", "begin", "end"),
    [
        ({}, "<s>", "</s>"),
        ({"tokenizer_config": {"eos_token": "<stop>"}}, "<s>", "<stop>"),
        ({"tokenizer_config": {"eos_token": {"content": "<stop>"}}}, "<s>", "<stop>"),
        ({"tokenizer_config": {"eos_token": None}}, "<s>", "</s>"),
        ({"special_tokens_map": {"eos_token": {"content": "<stop>"}}}, "<s>", "<stop>"),
        ({"generation_config": {"eos_token_id": [7, 3]}}, "<s>", "<stop>"),
        ({"generation_config": {"eos_token_id": 3}}, "<s>", "<stop>"),
        (
            {"tokenizer_config": {"eos_token": "</s>"}, "generation_config": {"eos_token_id": 3}},
            "<s>",
            "</s>",
        ),
        ({"tokenizer_config": {"add_bos_token": False}}, "</s>", "</s>"),
        ({"tokenizer_config": {"add_bos_token": True, "bos_token": "<go>"}}, "<go>", "</s>"),
        ({"tokenizer_config": {"bos_token": "<go>"}}, "<s>", "</s>"),
    ],
)
def test_files_next_to_the_tokenizer_decide(
    tmp_path: Path, files: dict[str, dict], begin: str, end: str
) -> None:
    path = tmp_path / "tokenizer.json"
    byte_level(path, "<s>", "</s>", "<go>", "<stop>")
    content = json.loads(path.read_text())
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}},
    }
    path.write_text(json.dumps(content))
    for name, values in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(values))
    tokenizer = load_tokenizer(str(path))
    assert edges(tokenizer) == (begin, end)
    assert edges(load_tokenizer(str(path), "<go>", "<stop>")) == ("<go>", "<stop>")
    assert load_tokenizer(str(path), "<go>", "<stop>").digest == tokenizer.digest
    assert identity(load_tokenizer(str(path), "<stop>")) != identity(tokenizer)


def test_a_template_decides_without_files(tmp_path: Path) -> None:
    assert edges(load_tokenizer(str(word_piece(tmp_path / "w.json")))) == ("[CLS]", "[SEP]")
    assert edges(load_tokenizer(str(byte_fallback(tmp_path / "f.json")))) == ("</s>", "</s>")
    framed = byte_fallback(tmp_path / "g.json", ("<s>",))
    assert edges(load_tokenizer(str(framed))) == ("<s>", "</s>")
    path = pieces(tmp_path / "p.model")
    assert edges(load_tokenizer(str(path))) == ("</s>", "</s>")
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": true, "bos_token": "<s>"}')
    assert edges(load_tokenizer(str(path))) == ("<s>", "</s>")


def names_of(error: ValueError) -> list[str]:
    """The values that a message advises."""
    return re.findall(r"'([^']*)'", str(error).rpartition("; try ")[2])


@pytest.mark.parametrize("role", ["begin", "end"])
@pytest.mark.parametrize("name", ["</s>", "<none>", ""])
def test_a_flag_must_name_a_special_token(tmp_path: Path, role: str, name: str) -> None:
    path = byte_level(tmp_path / "t.json", "<pad>", "<eos>", ordinary=("</s>",))
    flags: dict[str, str] = {f"{role}_token": name}
    message = rf"data\.{role}_token='{name}' must be a special token .*--data\.{role}-token with"
    with pytest.raises(ValueError, match=message) as refused:
        load_tokenizer(str(path), **flags)
    for advised in names_of(refused.value):
        load_tokenizer(str(path), **{f"{role}_token": advised})
    assert names_of(refused.value) == ["<pad>", "<eos>"]


def test_without_an_end_the_special_tokens_are_named(tmp_path: Path) -> None:
    path = byte_level(tmp_path / "t.json", "<one>", "<two>")
    with pytest.raises(ValueError, match=r"must have a token that ends a document") as refused:
        load_tokenizer(str(path))
    assert names_of(refused.value) == ["<one>", "<two>"]
    for name in names_of(refused.value):
        assert edges(load_tokenizer(str(path), None, name)) == (name, name)
    byte_level(path)
    with pytest.raises(ValueError, match=r"no special token at all; try `meshloom data tokenizer`"):
        load_tokenizer(str(path))


def test_two_tokens_before_a_text_ask_for_a_flag(tmp_path: Path) -> None:
    path = byte_fallback(tmp_path / "t.json", ("<unk>", "<s>"))
    with pytest.raises(ValueError, match=r"at most one token before a text, .* puts 2; try"):
        load_tokenizer(str(path))
    assert edges(load_tokenizer(str(path), "<s>")) == ("<s>", "</s>")


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000])
def test_a_damaged_file_next_to_it_is_named(tmp_path: Path, content: str) -> None:
    path = byte_level(tmp_path / "t.json", "<eos>")
    (tmp_path / "generation_config.json").write_text(content)
    message = r"generation_config\.json must be a readable JSON object, .*; try repairing"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(path))


def test_a_declared_token_that_is_not_special_is_refused(tmp_path: Path) -> None:
    path = byte_level(tmp_path / "t.json", "<eos>", ordinary=("</s>",))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    message = r"eos_token='</s>' in .*/tokenizer_config\.json must be a special token of data\.tok"
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(path))
    assert edges(load_tokenizer(str(path), None, "<eos>")) == ("<eos>", "<eos>")


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("generation_config", {"eos_token_id": True}, r"eos_token_id=True in .* must be an id"),
        ("generation_config", {"eos_token_id": ["1"]}, r"eos_token_id='1' in .* must be an id"),
        ("tokenizer_config", {"add_bos_token": "false"}, r"='false' in .* must be true or false"),
        ("special_tokens_map", {"eos_token": {"content": 1}}, r"=1 in .* must be a token's text"),
    ],
)
def test_a_value_of_another_type_is_refused(
    tmp_path: Path, file: str, values: dict, message: str
) -> None:
    path = byte_level(tmp_path / "t.json", "<eos>")
    (tmp_path / f"{file}.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(path))


def test_a_template_of_a_token_that_text_makes_too_is_refused(tmp_path: Path) -> None:
    path = byte_fallback(tmp_path / "t.json", ("<s>",))
    content = json.loads(path.read_text())
    content["added_tokens"][1]["special"] = False
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"'<s>', which the template of .* --data\.begin-token"):
        load_tokenizer(str(path))
    assert edges(load_tokenizer(str(path), "</s>")) == ("</s>", "</s>")


def test_tokens_that_a_file_adds_to_a_sentencepiece_model(tmp_path: Path) -> None:
    path = pieces(tmp_path / "p.model")
    size = load_tokenizer(str(path)).vocab_size
    added = {str(size + 4): {"content": "<|im_end|>", "special": True}}
    values = {"eos_token": "<|im_end|>", "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(values))
    tokenizer = load_tokenizer(str(path))
    assert (tokenizer.end.id, tokenizer.vocab_size) == (size + 4, size + 5)
    (ids,) = tokenizer.encode_batch(["la ba"])
    assert tokenizer.decode_batch([[*ids, size + 1, size + 4]]) == ["la ba"]


def test_bytes_take_no_tokens() -> None:
    with pytest.raises(ValueError, match=r"data\.end_token='x' must be left out with"):
        load_tokenizer("bytes", None, "x")
