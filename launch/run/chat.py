"""A conversation with a run's checkpoint, of which it sees all that was said."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import jax

from data.chat import ChatTemplate, Message
from data.errors import UserError
from data.tokenizer import Tokenizer
from launch.config import MeshConfig
from launch.run.generate import generator_of, require_template, require_text, require_writer
from launch.run.saved import MovedTokenizer, open_saved
from launch.run.text_generator import TextGenerator, Written
from model.sampling import Sampling


class Conversation:
    """What was said so far, and who answers."""

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: Tokenizer,
        generator: TextGenerator,
        length: int | None,
        seed: int,
    ) -> None:
        self._template, self._tokenizer, self._generator = template, tokenizer, generator
        self._length, self._key = length, jax.random.key(seed)
        self._messages: list[Message] = []

    def answer(self, text: str, *, tokens: int, on_text: Callable[[str], None]) -> Written:
        """The answer to what a user says, of so many `tokens` at most and of those that the
        model's length leaves; its pieces go to `on_text`.

        ValueError for what cannot be said, which is then not a part of the conversation.
        """
        require_text(text)
        messages = [*self._messages, Message("user", text)]
        (ids,) = self._template.prompts(self._tokenizer, [messages])
        limit = tokens
        if self._length is not None:
            if len(ids) >= self._length:
                raise UserError(
                    f"the conversation with this message has {len(ids):,} tokens, which must be "
                    f"below model.max_length={self._length:,}, because the model sees all of them "
                    "and the answer; try a shorter message, or /new for another conversation"
                )
            limit = min(tokens, self._length - len(ids))
        key = jax.random.fold_in(self._key, len(messages))
        written = self._generator.write([ids], key, limit=limit, rounded=True, on_text=on_text)
        reply = Message("assistant", written.continuations[0].text)
        self._messages = [*messages, reply]
        return written

    def forget(self) -> None:
        """Begin another conversation."""
        self._messages = []


@contextmanager
def open_conversation(
    run: Path,
    *,
    step: int | None = None,
    tokens: int,
    sampling: Sampling,
    stops: Sequence[str] = (),
    seed: int = 0,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
) -> Iterator[Conversation]:
    """A conversation with a checkpoint of the run, by default the latest, which is restored once.

    Raises ValueError when there is no such run, it does not write, it has no chat template, or
    several processes run: a terminal is read by one.
    """
    with open_saved(run, step, mesh, data) as saved:
        if jax.process_count() > 1:
            raise UserError(
                f"chat must be one process, because one reads the terminal, but here are "
                f"{jax.process_count()}; try `meshloom generate --chat`, or a mesh of one host"
            )
        tokenizer, template = require_writer(run, saved), require_template(run, saved)
        generator = generator_of(saved, template, new=tokens, sampling=sampling, stops=stops)
        model = saved.config.model
        length = model.last_position or model.longest_row
        yield Conversation(template, tokenizer, generator, length, seed)
