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
from data.tokenizer import visible
from launch.config import MeshConfig, RunConfig
from launch.run.saved import MovedTokenizer, Saved, open_saved
from launch.run.written_texts import source_ids, source_writer, writes_of_sources
from model.beams import Beams
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
    beams: Beams | None = None,
    tokens: int | None = None,
    report: Callable[[str], None] = to_stderr,
) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """What a checkpoint of the run, by default the latest, says of each text, and of each record of
    a source such as `csv:new.csv`: the fields that were read, the answer, and both in a line.

    Where the run's data read two fields, such as a pair, each two texts are one input. An
    encoder-decoder writes a text of each source, of at most `tokens`, by default as many as a row
    of targets has: token by token the likeliest, or the best that `beams` find. `config` must be
    that of the run if parts of it are of classes from elsewhere. Raises ValueError when there is no
    such run, its model is asked something else, or a text cannot be asked.
    """
    with open_saved(run, step, mesh, data, like=config) as saved:
        if writes_of_sources(saved):
            asked: Any = saved.config.data
            inputs = _inputs(texts, source, [asked.source_field], saved.config)
            writer = source_writer(saved, beams=beams, tokens=tokens)
            ids = source_ids(saved, inputs, report)
            for example, text in zip(inputs, writer.write(ids), strict=True):
                line = f"{example.values[asked.source_field]}  ->  {text}"
                yield example.values, {asked.target_field: text}, visible(line)
            return
        predictor = saved.config.data.open_predictor(saved.tokenizer, saved.meta)
        if predictor is None:
            raise UserError(
                f"run={run} must be of a model that fills in, labels, tags, answers or embeds, "
                f"because it is asked texts, but its data are "
                f"{type(saved.config.data).__name__}; try `meshloom generate`"
            )
        for name, value in (("beams", beams and beams.count), ("tokens", tokens)):
            if value is not None:
                raise UserError(
                    f"{name}={value} must be left out, because the model of {run} labels texts and "
                    f"writes none; try without --{name}"
                )
        if texts and not predictor.of_texts:
            example = getattr(saved.config.data, "example_source", "jsonl:new.jsonl")
            raise UserError(
                f"{len(texts)} texts must be 0, because the model reads {predictor.fields[0]!r}, no"
                f" text; try --source {example}"
            )
        inputs = _inputs(texts, source, predictor.fields, saved.config)
        yield from _answered(saved, predictor, inputs, report)


def _inputs(
    texts: Sequence[str], source: str | None, fields: Sequence[str], config: RunConfig
) -> list[Example]:
    inputs = _of_texts(fields, texts)
    return inputs if source is None else inputs + _of_source(source, fields, config)


def _of_texts(fields: Sequence[str], texts: Sequence[str]) -> list[Example]:
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


def _of_source(spec: str, fields: Sequence[str], config: RunConfig) -> list[Example]:
    corpus = open_corpus(spec, config.data, lambda line: None)  # type: ignore[arg-type]
    return [
        Example(
            {field: record.values[field] for field in fields},
            record.origin,
        )
        for piece in corpus.pieces()
        for record in corpus.records(piece, fields)
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
            values = predictor.written(example)
            yield values, answer, predictor.shown(values, answer)


def _asked(saved: Saved, eval_step: Callable[..., Any], most: int, batch: Any) -> Any:
    """What the model says of each row of the batch, `most` at a time; the last ones are filled with
    the last row, so that one program serves all."""
    count, local, outputs = len(batch.weights), local_rows(most), []
    for start in range(0, count, most):
        rows = np.minimum(np.arange(start, start + most), count - 1)[local]
        own = type(batch)(*(None if array is None else array[rows] for array in batch))
        outputs.append(whole(eval_step(saved.state.evaluated, to_global(own, local, most)).outputs))
    return jax.tree.map(lambda *parts: np.concatenate(parts)[:count], *outputs)
