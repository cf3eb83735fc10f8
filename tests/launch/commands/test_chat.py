"""Talking with a run, and continuing several prompts: as a terminal, a pipe or a program reads."""

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

from data.chat import Message, read_chat_template
from data.tokenizer import load_tokenizer, visible
from launch.cli import main
from launch.config import MeshConfig
from launch.run.generate import generate, generator_of
from launch.run.saved import MovedTokenizer, open_saved
from model.sampling import Sampling
from tests.command import ROOT, SMALL, WARM, meshloom, warm
from tests.data.test_chat import CHATML
from tests.vocabularies import TEXT, byte_level

MARKS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
NAMES = {"eos_token": MARKS[0], "bos_token": MARKS[0]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps, whose tokenizer has a chat template."""
    here = tmp_path_factory.mktemp("chat")
    tokenizer = byte_level(here / "tokenizer.json", *MARKS)
    write_template(here, CHATML)
    texts = [f"{text} {number}" for number, text in enumerate(TEXT * 9)]
    (here / "text.jsonl").write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    data = ["--data.sources", f"jsonl:{here}/text.jsonl", "--data.cache-dir", str(here / "cache")]
    data += ["--data.tokenizer", str(tokenizer), "--model.vocab-size", "320"]
    data += ["--data.held-out", "0.2"]
    meshloom("train", "tiny", *SMALL, *data, "--train.steps", "2", "--run-dir", str(here / "run"))
    return here / "run"


def write_template(folder: Path, template: str | None) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({**NAMES, "chat_template": template}))


@pytest.fixture
def moved(run: Path, tmp_path: Path) -> list[str]:
    """Flags for the tokenizer at another place, where it may have another template."""
    return ["--data.tokenizer", str(shutil.copy(run.parent / "tokenizer.json", tmp_path))]


def chat(run: Path, said: str, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`meshloom chat` with a pipe for a terminal."""
    result = subprocess.run(
        [*WARM, "chat", str(run), "--tokens", "5", *words],
        cwd=ROOT,
        env=warm(),
        input=said,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == code, result.stderr
    return result


def answered(run: Path, turns: list[str], penalty: float = 1.0) -> list[str]:
    """The answers to the turns of a conversation, each written on from all that was said."""
    path = str(run.parent / "tokenizer.json")
    tokenizer, template = load_tokenizer(path), read_chat_template(path)
    assert template is not None
    messages: list[Message] = []
    with open_saved(run, None, MeshConfig(), MovedTokenizer()) as saved:
        for turn in turns:
            messages.append(Message("user", turn))
            sampling = Sampling(temperature=0.0, repetition_penalty=penalty)
            generator = generator_of(saved, template, new=5, sampling=sampling, stops=())
            ids = template.prompts(tokenizer, [messages])
            (answer,) = generator.write(ids, jax.random.key(0)).continuations
            messages.append(Message("assistant", answer.text))
    return [message.content for message in messages if message.role == "assistant"]


def test_a_conversation_goes_on_from_all_that_was_said(run: Path) -> None:
    # A model of two steps would say the same to anything but for what it may not repeat.
    said = "la ba\n  \nde ni\n/new\nla ba\n/quit\nnever\n"
    result = chat(run, said, "--repetition-penalty", "9")
    first, second = answered(run, ["la ba", "de ni"], 9.0)
    assert second != answered(run, ["de ni"], 9.0)[0]
    wanted = [visible(text) for text in (first, second, first)]
    assert result.stdout == "".join(f"{text}\n" for text in wanted)
    lines = result.stderr.splitlines()
    assert len(lines) == 3 and all(line.startswith("(5 tokens in ") for line in lines)
    assert all(line.endswith("tokens/s; cut off there, try --tokens with more)") for line in lines)


def test_a_terminal_asks_and_goes_on_after_what_cannot_be_said(run: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*WARM, "chat", str(run), "--tokens", "5"],
        cwd=ROOT,
        env=warm(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.write(ours, b"a <|im_end|> b\nla ba\n\x04")
    out, error = process.communicate(timeout=300)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0, error
    (answer,) = answered(run, ["la ba"])
    assert out == f"> > {visible(answer)}\n> \n"
    assert "message='a <|im_end|> b' must not spell a special token" in error
    assert error.startswith("a message, /new for another conversation, or /quit\n")


def test_prompts_are_continued_together_as_json(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--prompt", "la ba", "--prompt", "fi", "--samples", "2", "--tokens", "6"]
    words += ["--temperature", "0", "--repetition-penalty", "1.3", "--format", "json"]
    printed = []
    for mesh in ([], ["--mesh.fsdp", "2", "--mesh.replica", "4"]):
        assert main(["generate", str(run), *words, *mesh]) == 0
        printed.append(capsys.readouterr())
    assert printed[0].out == printed[1].out
    rows = [json.loads(line) for line in printed[0].out.splitlines()]
    assert [row["prompt"] for row in rows] == ["la ba", "la ba", "fi", "fi"]
    assert rows[0] == rows[1] and rows[2] == rows[3]
    assert set(rows[0]) == {"prompt", "text", "tokens", "ended"}
    assert rows[0]["tokens"] == 6 and rows[0]["ended"] == "length"
    assert printed[0].err.startswith("24 tokens in ") and "tokens/s" in printed[0].err
    settings = {"tokens": 6, "temperature": 0.0, "repetition_penalty": 1.3}
    texts = generate(run, ["la ba", "fi"], **settings)
    assert texts == [visible(rows[0]["text"]), visible(rows[2]["text"])]


def test_a_single_prompt_is_streamed_and_stops(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", str(run), "--prompt", "la ba", "--temperature", "0", "--tokens", "6"]
    assert main([*words, "--format", "json"]) == 0
    text = json.loads(capsys.readouterr().out)["text"]
    assert main(words) == 0
    assert capsys.readouterr().out == f"la ba{visible(text)}\n"
    assert main([*words, "--stop", "never", "--stop", text[2:4]]) == 0
    assert capsys.readouterr().out == f"la ba{visible(text.partition(text[2:4])[0])}\n"
    assert main([*words, "--stop", ""]) == 1
    assert "stop='' must have a character" in capsys.readouterr().err
    (answer,) = answered(run, ["la ba"])
    assert main([*words[:-1], "5", "--chat"]) == 0
    assert capsys.readouterr().out == f"{visible(answer)}\n"


def test_generation_config_ends_texts(
    run: Path, moved: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_template(tmp_path, None)
    words = ["generate", str(run), *moved, "--prompt", "la", "--temperature", "0"]
    words += ["--format", "json", "--tokens"]
    assert main([*words, "1"]) == 0
    first = json.loads(capsys.readouterr().out)
    (id,) = load_tokenizer(moved[1]).encode_batch([first["text"]])[0].tolist()
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, id]}))
    assert main([*words, "4"]) == 0
    ended = {"prompt": "la", "text": "", "tokens": 1, "ended": "end"}
    assert json.loads(capsys.readouterr().out) == ended


@pytest.mark.parametrize(
    ("template", "said", "message"),
    [
        (None, "a", "must have a chat template, because messages are put to its model by one"),
        ("{{ raise_exception('only tools') }}", "a", "it raises: only tools; try other messages"),
        ("{{ 'a' * 10**10 }}", "a", "it takes more than 512 MiB of memory"),
        (CHATML, "la ba " * 200, "tokens, which must be below model.max_length=256, because"),
        (CHATML, "a\udcff", "must be text, because a model goes on from text"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_the_reason(
    template: str | None, said: str, message: str, run: Path, moved: list[str], tmp_path: Path
) -> None:
    write_template(tmp_path, template)
    result = subprocess.run(
        [*WARM, "chat", str(run), *moved],
        cwd=ROOT,
        env=warm(),
        input=said.encode(errors="surrogateescape"),
        capture_output=True,
        timeout=300,
    )
    error = result.stderr.decode()
    assert result.returncode == 1 and message in error and "; try " in error, error
    assert "Traceback" not in error and result.stdout == b""


def test_an_answer_that_fills_the_model_says_so(run: Path) -> None:
    result = chat(run, "la ba de ni " * 20, "--tokens", "250")
    assert "cut off there, the model's length is full: try /new)" in result.stderr
