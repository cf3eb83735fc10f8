"""Generating: a run's checkpoint writes on from a prompt."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.chat import ChatTemplate, Message, read_chat_template
from data.errors import UserError
from data.sentinels import SentinelTokenizer
from data.spans_config import SpansConfig
from data.special_tokens import ends_of_generation
from data.tokenizer import Tokenizer, visible
from launch.config import MeshConfig, RunConfig
from launch.process.distributed import from_first_process
from launch.run.saved import MovedTokenizer, Saved, open_saved
from launch.run.source_writer import write_of_sources
from launch.run.temperature import TEMPERATURE
from launch.run.text_generator import TextGenerator, Written
from model.beams import Beams, beams_of
from model.families.table import READERS
from model.sampling import Sampling


def generate(
    run: Path,
    prompts: Sequence[str],
    *,
    config: RunConfig | None = None,
    step: int | None = None,
    tokens: int = 200,
    temperature: float = TEMPERATURE,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    beams: int | None = None,
    length_penalty: float = 1.0,
    stops: Sequence[str] = (),
    chat: bool = False,
    seed: int = 0,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
) -> list[str]:
    """What a checkpoint of the run, by default the latest, writes on from each prompt: at most so
    many `tokens`, up to the first of the strings `stops`; drawn as `model.sampling.Sampling` says,
    or, with `beams`, the best that beam search finds (`model.beams.Beams`), which draws nothing.

    With `chat` each prompt is what a user says, and the text is the answer. An encoder-decoder
    reads each prompt and writes another text of it; of one that learnt spans, both may have
    sentinels, as `<extra_id_0>`. `config` must be that of the run if parts of it
    are of classes from elsewhere. Raises ValueError when there is no such run, or its model does
    not write.
    """
    sampling = Sampling(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        repetition_penalty=repetition_penalty,
    )
    search = beams_of(beams, length_penalty)
    if search is not None:
        require_undrawn(search.count, vars(sampling), vars(Sampling(temperature=TEMPERATURE)))
    written = write_on(
        run,
        prompts,
        config=config,
        step=step,
        tokens=tokens,
        sampling=search or sampling,
        stops=stops,
        chat=chat,
        seed=seed,
        data=data,
        mesh=mesh,
    )
    return [visible(each.text) for each in written.continuations]


def write_on(
    run: Path,
    prompts: Sequence[str],
    *,
    config: RunConfig | None = None,
    step: int | None = None,
    tokens: int,
    sampling: Sampling | Beams,
    stops: Sequence[str] = (),
    chat: bool = False,
    seed: int = 0,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
    on_text: Callable[[str], None] | None = None,
) -> Written:
    """The continuations that `generate` has the texts of, and how long they took; `on_text` gets
    the pieces of the first as they are written."""
    for prompt in prompts:
        require_text(prompt)
    with open_saved(run, step, mesh, data, like=config) as saved:
        key = jax.random.key(seed)
        if saved.config.model.kind in READERS and saved.tokenizer and not chat:
            if isinstance(saved.config.data, SpansConfig):
                saved = saved._replace(tokenizer=SentinelTokenizer(saved.tokenizer))
            assert saved.tokenizer is not None
            settings: Any = {"new": tokens, "sampling": sampling, "stops": stops}
            make = functools.partial(generator_of, saved, None, **settings)
            model = saved.state.evaluated
            return write_of_sources(model, saved.tokenizer, prompts, make, key, on_text)
        tokenizer = require_writer(run, saved)
        template = require_template(run, saved) if chat else None
        generator = generator_of(saved, template, new=tokens, sampling=sampling, stops=stops)
        if template is None:
            return _documents(generator, tokenizer, prompts, key, on_text)
        said = [[Message("user", prompt)] for prompt in prompts]

        def rendered() -> str:
            return json.dumps([ids.tolist() for ids in template.prompts(tokenizer, said)])

        # A template may ask what time it is, and every process must have the same prompts.
        ids = [np.array(part, np.int32) for part in json.loads(from_first_process(rendered))]
        return generator.write(ids, key, on_text=on_text)


def require_undrawn(beams: int, wanted: Mapping[str, Any], usual: Mapping[str, Any]) -> None:
    """Raise ValueError if one of these options, all of drawing, is not as usual with beams."""
    for name, value in wanted.items():
        if value != usual[name]:
            raise UserError(
                f"{name}={value} must be left out with beams={beams}, because beams take the best "
                f"text that they find and draw nothing; try --beams {beams} alone, or no beams"
            )


def generator_of(
    saved: Saved,
    template: ChatTemplate | None,
    model: Any = None,
    *,
    new: int,
    sampling: Sampling | Beams,
    stops: Sequence[str],
) -> TextGenerator:
    """What writes on from documents, or, by a template, answers: these end with the turn, and
    special tokens are no text of theirs. `model` stands in for that of the run."""
    tokenizer = saved.tokenizer
    assert tokenizer is not None
    ends = more_ends(saved)
    if template is not None and (end := template.end_of_turn(tokenizer)) is not None:
        ends.append(end)
    return TextGenerator(
        saved.state.evaluated if model is None else model,
        tokenizer,
        new=new,
        sampling=sampling,
        ends=ends,
        stops=stops,
        hidden=frozenset() if template is None else tokenizer.special,
    )


def require_writer(run: Path, saved: Saved) -> Tokenizer:
    """The tokenizer of a model that writes; ValueError if it does not."""
    if saved.tokenizer is None or not saved.config.model.generates:
        raise UserError(
            f"run={run} must be of a model that writes text, because it is to go on from a "
            f"prompt, but its family is {saved.config.model.kind}; try `meshloom evaluate`"
        )
    return saved.tokenizer


def require_template(run: Path, saved: Saved) -> ChatTemplate:
    """The chat template of the run's tokenizer; ValueError if there is none."""
    path = _path(saved)
    template = None if path == "bytes" else read_chat_template(path)
    if template is None:
        own = "" if path == "bytes" else ", or a chat_template.jinja there"
        raise UserError(
            f"run={run} must have a chat template, because messages are put to its model by one, "
            f"but none lies next to its tokenizer {path}; try `meshloom generate` without --chat"
            f"{own}"
        )
    return template


def require_text(prompt: str) -> None:
    """ValueError if a prompt has what is no character, as a terminal may give it."""
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"prompt={prompt!a} must be text, because a model goes on from text, but its character "
            f"{error.start} is not; try a terminal in UTF-8, or without it"
        ) from error


def continuations(
    model: Any,
    tokenizer: Tokenizer,
    prompts: list[str],
    *,
    new: int,
    sampling: Sampling = Sampling(temperature=TEMPERATURE),  # noqa: B008 - frozen
    seed: int = 0,
) -> list[str]:
    """At most `new` tokens written on from each prompt, on the current mesh, the same on every
    process, as `visible` text: that of prompt and new tokens without that of the prompt.

    Every prompt begins a document. Raises ValueError when the model's positions end.
    """
    generator = TextGenerator(model, tokenizer, new=new, sampling=sampling)
    written = _documents(generator, tokenizer, prompts, jax.random.key(seed))
    return [visible(each.text) for each in written.continuations]


def _documents(
    generator: TextGenerator,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    key: jax.Array,
    on_text: Callable[[str], None] | None = None,
) -> Written:
    encoded = tokenizer.encode_batch(list(prompts))
    ids = [np.append(tokenizer.begin.id, part) for part in encoded]
    return generator.write(ids, key, before=encoded, on_text=on_text)


def more_ends(saved: Saved) -> list[int]:
    """Tokens that end a text next to the tokenizer's end token."""
    path = _path(saved)
    return [] if path == "bytes" else [*ends_of_generation(path)]


def _path(saved: Saved) -> str:
    """Where the run's tokenizer lies; `bytes` where it is no file."""
    return getattr(saved.config.data, "tokenizer", "bytes")
