"""Generating: a run's checkpoint writes on from a prompt."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from data.errors import UserError
from data.text import TextStream
from data.tokenizer import Tokenizer, visible
from launch.config import MeshConfig, RunConfig
from launch.run.saved import MovedTokenizer, open_saved
from model.generate import Sampling
from model.generate import generate as decode
from model.sharding import axis_size, spec


def generate(
    run: Path,
    prompts: Sequence[str],
    *,
    config: RunConfig | None = None,
    step: int | None = None,
    tokens: int = 200,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int = 0,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
) -> list[str]:
    """What a checkpoint of the run, by default the latest, writes on from each prompt: at most so
    many `tokens`, drawn as `model.generate.Sampling` says.

    `config` must be that of the run if parts of it are of classes from elsewhere. Raises ValueError
    when there is no such run, or its model does not write.
    """
    for prompt in prompts:
        _require_text(prompt)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    with open_saved(run, step, mesh, data, like=config) as saved:
        if saved.tokenizer is None or not saved.config.model.generates:
            raise UserError(
                f"run={run} must be of a model that writes text, because it is to go on from a "
                f"prompt, but its family is {saved.config.model.kind}; try `meshloom evaluate`"
            )
        model, tokenizer = saved.state.evaluated, saved.tokenizer
        return continuations(
            model, tokenizer, list(prompts), new=tokens, sampling=sampling, seed=seed
        )


def _require_text(prompt: str) -> None:
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
        jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
        for array in (tokens, real)
    ]
    written = jax.jit(decode, static_argnames=("new", "sampling", "end"))(
        model, *placed, jax.random.key(seed), new=new, sampling=sampling, end=end
    )
    rows = multihost_utils.process_allgather(written, tiled=True)
    return [
        _written(tokenizer, prompt, row, end) for prompt, row in zip(encoded, rows, strict=False)
    ]


def _written(tokenizer: Tokenizer, prompt: np.ndarray, row: np.ndarray, end: int) -> str:
    """The text of a row up to its first `end`."""
    text = TextStream(tokenizer, prompt)
    ends = np.flatnonzero(row == end)
    return visible(text.add(row[: ends[0]] if len(ends) else row) + text.close())
