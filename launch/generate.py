"""The command `generate`: a run's checkpoint writes on from a prompt."""

import functools
from typing import TYPE_CHECKING

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from data.text import TextStream
from data.tokenizer import Tokenizer, visible
from launch.options import GenerateOptions
from model.families.decoder import Decoder
from model.generate import Sampling
from model.generate import generate as decode
from model.sharding import axis_size, spec

if TYPE_CHECKING:
    pass


def generate(options: GenerateOptions) -> None:
    """Print the prompt with its continuations."""
    from launch.saved import open_saved

    _require_text(options.prompt)
    sampling = Sampling(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p)
    with open_saved(options.run, options.step, options.mesh, options.data) as saved:
        texts = continuations(
            saved.state.evaluated,
            saved.tokenizer,
            [options.prompt] * options.samples,
            new=options.tokens,
            sampling=sampling,
            seed=options.seed,
        )
        if jax.process_index() != 0:
            return
        for number, text in enumerate(texts, start=1):
            if options.samples > 1:
                print(f"--- {number} of {options.samples}")
            print(visible(options.prompt) + text)


def _require_text(prompt: str) -> None:
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"prompt={prompt!a} must be text, because a model goes on from text, but its character "
            f"{error.start} is none; try a terminal in UTF-8, or without it"
        ) from error


def continuations(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: list[str],
    *,
    new: int,
    sampling: Sampling = Sampling(temperature=0.8),  # noqa: B008 - frozen
    seed: int = 0,
) -> list[str]:
    """At most `new` tokens written on from each prompt, on the current mesh, the same on every
    process, as `visible` text: that of prompt and new tokens without that of the prompt.

    Every prompt begins a document. Raises ValueError when the model's positions end.
    """
    begin, end = tokenizer.begin.id, tokenizer.end.id
    encoded = tokenizer.encode_batch(prompts)
    ids = [np.append(begin, part) for part in encoded]
    B = -(-len(ids) // axis_size("batch")) * axis_size("batch")
    P = max(map(len, ids))
    tokens, real = np.full((B, P), end, np.int32), np.zeros((B, P), bool)
    real[:, -1] = True
    for row, part in enumerate(ids):
        tokens[row, P - len(part) :] = part
        real[row, P - len(part) :] = True
    sharding = NamedSharding(jax.sharding.get_mesh(), spec("batch", None))
    placed = [
        jax.make_array_from_callback(array.shape, sharding, functools.partial(_part, array))
        for array in (tokens, real)
    ]
    written = jax.jit(decode, static_argnames=("new", "sampling", "end"))(
        model, *placed, jax.random.key(seed), new=new, sampling=sampling, end=end
    )
    rows = multihost_utils.process_allgather(written, tiled=True)
    return [
        _written(tokenizer, prompt, _until(row, end))
        for prompt, row in zip(encoded, rows, strict=False)
    ]


def _written(tokenizer: Tokenizer, prompt: np.ndarray, new: np.ndarray) -> str:
    text = TextStream(tokenizer, prompt)
    return visible(text.add(new) + text.close())


def _part(array: np.ndarray, index: tuple[slice, ...] | None) -> np.ndarray:
    assert index is not None
    return array[index]


def _until(row: np.ndarray, end: int) -> np.ndarray:
    ends = np.flatnonzero(row == end)
    return row[: ends[0]] if len(ends) else row
