"""The chat template of a tokenizer: messages to the text that its model was trained to answer.

A template is a program of a stranger's, so that it runs apart (`data.chat_renderer`).
"""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from data import system
from data.errors import UserError
from data.special_tokens import declared, folder_of
from data.tokenizer import Tokenizer, visible

RENDERER = Path(__file__).with_name("chat_renderer.py")
FILE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"
LARGEST = 2**20  # bytes of a template
PATIENCE = 60  # seconds for a process that may compute for two
ANSWER = "meshloom"
"""What an assistant says where only that which follows it is wanted."""


class Message(NamedTuple):
    """What one side of a conversation said."""

    role: str
    content: str


class ChatTemplate(NamedTuple):
    """A template, and the tokens by name that it may write."""

    where: str
    """Which file it is in, for errors."""
    source: str
    tokens: Mapping[str, str]

    def prompts(
        self, tokenizer: Tokenizer, conversations: Sequence[Sequence[Message]]
    ) -> list[np.ndarray]:
        """Ids of each conversation up to where an answer begins. ValueError if the template does
        not render, or if what a user said would be taken for a special token."""
        for message in chain.from_iterable(conversations):
            _require_plain(tokenizer, message)
        return [tokenizer.encode_marked(text) for text in self.render(conversations, answer=True)]

    def render(self, conversations: Sequence[Sequence[Message]], *, answer: bool) -> list[str]:
        """The text of each conversation, and of the beginning of an `answer`; ValueError if the
        template raises, is none, or takes more memory or time than a template needs."""
        variables = [
            {
                **self.tokens,
                "messages": [message._asdict() for message in messages],
                "tools": None,
                "documents": None,
                "add_generation_prompt": answer,
            }
            for messages in conversations
        ]
        answered = _rendered({"template": self.source, "variables": variables})
        if "error" in answered:
            raise UserError(
                f"{self.where} must be a template that renders this conversation, because a chat "
                f"is put to the model by it, but {visible(answered['error'])}; try other messages, "
                "or repairing the template"
            )
        return answered["texts"]

    def end_of_turn(self, tokenizer: Tokenizer) -> int | None:
        """The special token that it writes after what an assistant said; None if there is none."""
        turns = [Message("user", ANSWER[::-1]), Message("assistant", ANSWER)]
        after = self.render([turns], answer=False)[0].partition(ANSWER)[2]
        special = (int(id) for id in tokenizer.encode_marked(after) if id in tokenizer.special)
        return next(special, None)


def read_chat_template(path: str) -> ChatTemplate | None:
    """The template next to a tokenizer, in a file of its own or in its tokenizer_config.json; None
    if there is none. ValueError if it cannot be read."""
    config, folder = declared(path, CONFIG), folder_of(path)
    tokens = {**declared(path, "special_tokens_map.json"), **config}
    named = {name: _token(value) for name, value in tokens.items() if name.endswith("_token")}
    variables = {name: token for name, token in named.items() if token is not None}
    if (folder / FILE).exists():
        return ChatTemplate(str(folder / FILE), _content(folder / FILE), variables)
    source = config.get("chat_template")
    if isinstance(source, list):
        each = [part for part in source if isinstance(part, dict)]
        source = {part.get("name"): part.get("template") for part in each}.get("default", source)
    if source is None:
        return None
    where = f"chat_template in {folder / CONFIG}"
    if not isinstance(source, str):
        raise UserError(
            f"{where} must be a text, or a list with a template named default, because a chat is "
            f"put to the model by it, but it is a {type(source).__name__}; try repairing the file"
        )
    return ChatTemplate(where, source, variables)


def _content(file: epath.Path) -> str:
    """The text of a template's file."""
    with system.usable(str(file), "a chat is put to the model by it", always=True):
        if file.stat().length > LARGEST:
            raise UserError(
                f"{file} must have at most {LARGEST:,} bytes, because it is a template for a few "
                f"messages, but it has {file.stat().length:,}; try another file"
            )
        content = file.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{file} must be a text in UTF-8, because a chat is put to the model by it, but it is "
            f"not ({error}); try repairing the file"
        ) from error


def _token(value: Any) -> str | None:
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def _require_plain(tokenizer: Tokenizer, message: Message) -> None:
    if message.role == "assistant":
        return
    marked = tokenizer.encode_marked(message.content)
    if not np.array_equal(marked, tokenizer.encode_batch([message.content])[0]):
        raise UserError(
            f"message={message.content[:200]!r} must not spell a special token, because "
            "the model would take it for the end of a turn or the like; try other words"
        )


def _rendered(request: Mapping[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-P", str(RENDERER)]
    try:
        done = subprocess.run(
            command, input=json.dumps(request).encode(), capture_output=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return {"error": f"it did not end within {PATIENCE} seconds"}
    if done.returncode == 0:
        return json.loads(done.stdout)
    if -done.returncode in (signal.SIGKILL, signal.SIGXCPU):
        return {"error": "it computes on and on"}
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return {"error": f"the process that renders it ended with {done.returncode}: {last[:300]}"}
