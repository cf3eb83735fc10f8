"""Evaluation of real rows against NumPy on the model's logits."""

import dataclasses
import functools
import json
import math

import jax
import numpy as np
import pytest

from data.batch import TokenRows
from data.config import DataConfig
from data.rows.tokens import TokenWindows, open_windows
from launch.run.build import Evaluator
from model.families.decoder import Decoder
from tests.models import SMALL, TRAIN, mesh_of
from tests.vocabularies import byte_fallback
from train.state import TrainState, init_state

TEXTS = [f"ba de fi {'go ' * (i % 7)}\u65e5{i}" for i in range(60)]
MODEL = dataclasses.replace(SMALL, vocab_size=360, max_length=16)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("rows")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
    (folder / "a.jsonl").write_text(lines)
    return DataConfig(
        sources=(f"jsonl:{folder}/a.jsonl",),
        tokenizer=str(byte_fallback(folder / "t.json", ("<s>",))),
        sequence_length=16,
        held_out=0.5,
        cache_dir=str(folder / "cache"),
    )


@functools.cache
def state() -> TrainState:
    return init_state(MODEL, TRAIN.optimizer, jax.random.key(0))


@jax.jit
def logits_of(model: Decoder, batch: TokenRows) -> jax.Array:
    return model.logits(model(batch.tokens, batch.positions, batch.segment_ids))


def by_hand(rows: TokenWindows) -> tuple[float, int, int]:
    """Sum of losses in float64, targets, and bytes of the text that the targets end."""
    batch = rows.batch(np.arange(rows.num_rows))
    logits = np.asarray(logits_of(state().evaluated, batch), np.float64)
    top = logits.max(axis=-1, keepdims=True)
    normalizer = np.log(np.exp(logits - top).sum(axis=-1)) + top[..., 0]
    hit = np.take_along_axis(logits, batch.targets[..., None].astype(int), axis=-1)[..., 0]
    order = np.argsort(rows.examples(np.arange(rows.num_rows)))
    end = rows.tokenizer.end.id
    stream = batch.targets[order].ravel()
    texts = rows.tokenizer.decode_batch(np.split(stream, np.flatnonzero(stream == end) + 1))
    *whole, cut = texts
    # A character that the last row cuts is no text yet.
    size = sum(len(text.encode()) for text in whole) + len(cut.rstrip("\ufffd").encode())
    return float((normalizer - hit).sum()), batch.targets.size, size


@pytest.mark.parametrize("packed", [True, False])
def test_sums_are_those_of_numpy_and_bytes_those_of_the_text(
    config: DataConfig, packed: bool
) -> None:
    config = dataclasses.replace(config, packing=packed)
    rows = open_windows(config, "held_out", lambda line: None)
    with jax.set_mesh(mesh_of()):
        nll, targets, size = by_hand(rows)
        actual = Evaluator(TRAIN, rows, batches=None)(state())
    assert actual["eval_targets"] == targets == rows.num_tokens // 16 * 16
    assert actual["eval_loss"] == pytest.approx(nll / targets, rel=1e-5)
    assert actual["eval_bits_per_byte"] == pytest.approx(nll / math.log(2) / size, rel=1e-5)


def test_bytes_are_those_of_the_batches_that_are_scored(config: DataConfig) -> None:
    rows = open_windows(config, "held_out", lambda line: None)
    assert rows.num_rows > TRAIN.batch_size
    with jax.set_mesh(mesh_of()):
        actual = Evaluator(TRAIN, rows, batches=1)(state())
    text = rows.text_bytes(np.arange(TRAIN.batch_size))
    nll = actual["eval_loss"] * actual["eval_targets"]
    assert actual["eval_bits_per_byte"] == pytest.approx(nll / math.log(2) / text)
