"""Predicting: what a run's checkpoint says of other texts."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from data.config import to_stderr
from data.corpus import open_corpus
from data.errors import UserError
from data.rows.predictor import Example, Predictor
from launch.config import MeshConfig, RunConfig
from launch.run.saved import MovedTokenizer, Saved, open_saved
from model.sharding import axis_size
from train.evaluate import whole
from train.feed import local_rows, to_global
from train.step import make_eval_step


def predict(
    run: Path,
    texts: Sequence[str] = (),
    *,
    source: str | None = None,
    config: RunConfig | None = None,
    step: int | None = None,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
    mesh: MeshConfig = MeshConfig(),  # noqa: B008
    report: Callable[[str], None] = to_stderr,
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """What a checkpoint of the run, by default the latest, says of each text, and of each record of
    a source such as `csv:new.csv`: the fields that were read, the answer, and both in a line.

    Where the run's data read two fields, such as a pair, each two texts are one input. `config`
    must be that of the run if parts of it are of classes from elsewhere. Raises ValueError when
    there is no such run, its model is asked something else, or a text cannot be asked.
    """
    with open_saved(run, step, mesh, data, like=config) as saved:
        predictor = saved.config.data.open_predictor(saved.tokenizer, saved.meta)
        if predictor is None:
            raise UserError(
                f"run={run} must be of a model that fills in, labels, tags, answers or embeds, "
                f"because it is asked texts, but its data are "
                f"{type(saved.config.data).__name__}; try `meshloom generate`"
            )
        inputs = _of_texts(predictor, texts)
        if source is not None:
            inputs += _of_source(source, predictor, saved.config)
        yield from _answered(saved, predictor, inputs, report)


def _of_texts(predictor: Predictor, texts: Sequence[str]) -> list[Example]:
    fields = predictor.fields
    if len(texts) % len(fields):
        raise UserError(
            f"{len(texts)} texts must be a multiple of {len(fields)}, because the model was trained"
            f" on {' and '.join(fields)}; try --text for each of them"
        )
    inputs = [texts[n : n + len(fields)] for n in range(0, len(texts), len(fields))]
    return [
        Example(dict(zip(fields, each, strict=True)), f"text {number}")
        for number, each in enumerate(inputs, start=1)
    ]


def _of_source(spec: str, predictor: Predictor, config: RunConfig) -> list[Example]:
    corpus = open_corpus(spec, config.data, lambda line: None)  # type: ignore[arg-type]
    return [
        Example(
            {field: record.values[field] for field in predictor.fields},
            f"{record.file} at {record.where}",
        )
        for piece in corpus.pieces()
        for record in corpus.records(piece, predictor.fields)
    ]


def _answered(
    saved: Saved, predictor: Predictor, inputs: Sequence[Example], report: Callable[[str], None]
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    shards = axis_size("batch")
    most = -(-min(saved.config.train.batch_size, len(inputs) or 1) // shards) * shards
    ask = functools.partial(_asked, saved, make_eval_step(saved.config.train), most)
    for start in range(0, len(inputs), most):
        part = inputs[start : start + most]
        answers = predictor.answers(part, ask(predictor.batch(part, report)))
        for example, answer in zip(part, answers, strict=True):
            yield example.values, answer, predictor.shown(example.values, answer)


def _asked(saved: Saved, eval_step: Callable[..., Any], most: int, batch: Any) -> Any:
    """What the model says of each row of the batch, `most` at a time; the last ones are filled with
    the last row, so that one program serves all."""
    count, local, outputs = len(batch.weights), local_rows(most), []
    for start in range(0, count, most):
        rows = np.minimum(np.arange(start, start + most), count - 1)[local]
        own = type(batch)(*(None if array is None else array[rows] for array in batch))
        outputs.append(whole(eval_step(saved.state.evaluated, to_global(own, local, most)).outputs))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *outputs)
