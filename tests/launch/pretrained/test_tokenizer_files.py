"""The files of a tokenizer in an export: the same ids as in training, and what servers ask for."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from data.tokenizer import ByteTokenizer, load_tokenizer
from launch.pretrained.tokenizer_files import TokenizerFiles
from tests.launch.pretrained.test_gguf_export import END, TEXTS, bpe


def files(path: Path | None, *, generates: bool = True) -> TokenizerFiles:
    tokenizer = load_tokenizer("bytes" if path is None else str(path))
    return TokenizerFiles(tokenizer, str(path or "bytes"), generates, length=40)


def own(folder: Path, **beside: Any) -> Path:
    """A tokenizer with a name of its own, in a folder with what lies `beside`."""
    folder.mkdir()
    for name, fields in beside.items():
        (folder / f"{name}.json").write_text(json.dumps(fields))
    path = folder / "words.json"
    path.write_text(json.dumps(bpe()))
    return path


def written(which: TokenizerFiles, folder: Path) -> dict[str, Any]:
    """What it writes, JSON by the names of the files."""
    folder.mkdir()
    which.write(folder)
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir()}


def test_bytes_have_the_ids_of_training(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert written(files(None), out)["generation_config.json"] == {
        "bos_token_id": 256,
        "eos_token_id": 256,
        "pad_token_id": 256,
    }
    again, bytes_ = load_tokenizer(str(out / "tokenizer.json")), ByteTokenizer()
    texts = [*TEXTS, bytes(range(32, 256)).decode("latin-1"), END]
    ids = [part.tolist() for part in again.encode_batch(texts)]
    assert ids == [part.tolist() for part in bytes_.encode_batch(texts)]
    assert again.decode_batch(ids) == texts
    assert (again.begin.id, again.end.id, again.vocab_size) == (256, 256, 257)
    fast = Tokenizer.from_file(str(out / "tokenizer.json"))
    assert fast.encode("a").ids == [256, 97]


def test_text_begins_as_in_training_where_no_file_says_how(tmp_path: Path) -> None:
    path = own(tmp_path / "own")
    wrote = written(files(path), tmp_path / "out")
    assert wrote["tokenizer_config.json"] == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 40,
        "bos_token": END,
        "eos_token": END,
        "add_bos_token": True,
    }
    fast = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    plain = load_tokenizer(str(path)).encode_batch(TEXTS)
    assert [fast.encode(text).ids for text in TEXTS] == [[0, *part] for part in plain]


def test_what_lies_there_is_kept(tmp_path: Path) -> None:
    config = {"eos_token": END, "bos_token": "!", "tokenizer_class": "GPT2Tokenizer"}
    generation = {"eos_token_id": [0, 1], "temperature": 0.5}
    path = own(tmp_path / "own", tokenizer_config=config, generation_config=generation)
    (path.parent / "notes.json").write_text("{}")
    which = files(path)
    wrote = written(which, tmp_path / "out")
    assert wrote == {
        "tokenizer.json": bpe(),
        "tokenizer_config.json": config,
        "generation_config.json": generation,
    }
    copy = tmp_path / "out" / "tokenizer_config.json"
    assert copy.read_bytes() == (path.parent / copy.name).read_bytes()
    assert which.config_fields() == {"bos_token_id": 1, "eos_token_id": 0}


def test_a_class_is_named_where_none_is(tmp_path: Path) -> None:
    path = own(tmp_path / "own", tokenizer_config={"eos_token": END, "pad_token": {"content": "#"}})
    wrote = written(files(path), tmp_path / "out")
    assert wrote["tokenizer_config.json"] == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": {"content": "#"},
    }
    assert wrote["generation_config.json"]["pad_token_id"] == 3
    assert wrote["tokenizer.json"] == bpe()


def test_a_turn_ends_a_text_too(tmp_path: Path) -> None:
    """The token that the chat template writes after an answer, where it is no end of documents."""
    fast = Tokenizer.from_str(json.dumps(bpe()))
    fast.add_special_tokens(["<|turn|>"])
    template = "{% for each in messages %}{{ each.content }}<|turn|>{% endfor %}"
    config = {"eos_token": END, "chat_template": template}
    path = own(tmp_path / "own", tokenizer_config=config)
    fast.save(str(path))
    wrote = written(files(path), tmp_path / "out")
    turn = fast.token_to_id("<|turn|>")
    assert wrote["generation_config.json"]["eos_token_id"] == [fast.token_to_id(END), turn]


@pytest.mark.parametrize("of_bytes", [True, False])
def test_a_model_that_does_not_write_has_no_generation(of_bytes: bool, tmp_path: Path) -> None:
    path = None if of_bytes else own(tmp_path / "own")
    which = files(path, generates=False)
    wrote = written(which, tmp_path / "out")
    assert which.config_fields() == {} and which.written != of_bytes
    if path is not None:
        assert wrote.pop("tokenizer.json") == bpe()
        assert wrote.pop("tokenizer_config.json")["sep_token"] == END
    assert wrote == {}
