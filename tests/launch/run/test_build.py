import dataclasses

import jax
import pytest

from launch.config import RunConfig
from launch.presets.preset import preset
from launch.process.mesh import axis_sizes
from launch.run.build import check_batch, fresh_state, resolve_train
from model.sharding import abstract_mesh
from tests.advice import followed
from tests.models import SMALL, TRAIN
from train.loss import LOGITS_BYTES

WANTED = dataclasses.replace(TRAIN, loss_chunk=0)


@pytest.mark.parametrize("backend", ["tpu", "gpu"])
@pytest.mark.parametrize("vocabulary", [50_304, 128_256, 2**28])
def test_logits_of_a_chunk_are_bounded_and_their_tokens_tile(backend: str, vocabulary: int) -> None:
    model = dataclasses.replace(SMALL, vocab_size=vocabulary)
    chunk = resolve_train(WANTED, model, backend).loss_chunk
    assert chunk.bit_count() == 1
    bound = LOGITS_BYTES["accelerator"] / (4 * vocabulary)
    assert chunk == 1 or bound / 2 < chunk <= bound


def test_chunk_on_a_cpu_fills_its_cache_and_a_configured_chunk_stays() -> None:
    assert resolve_train(WANTED, SMALL, "cpu").loss_chunk == LOGITS_BYTES["cpu"] // (4 * 64)
    configured = dataclasses.replace(TRAIN, loss_chunk=77)
    assert resolve_train(configured, SMALL, "tpu").loss_chunk == 77


MISFIT = """--mesh.fsdp 3 --mesh.tensor 4 --train.batch-size 7 --train.accumulation 3
--data.sequence-length 150 --model.max-length 100 --model.num-layers 1 --model.embed-dim 33
--model.num-heads 3 --model.num-kv-heads 2 --model.head-dim 9 --model.mlp-dim 35
--model.vocab-size 261""".split()


@pytest.mark.parametrize("place", [0, -1])
def test_every_advice_on_sizes_that_do_not_fit_leads_to_a_run(place: int) -> None:
    def begin(words: list[str]) -> None:
        run = run_of(words)
        with jax.sharding.use_abstract_mesh(abstract_mesh(**axis_sizes(run.mesh, 8))):
            check_batch(run.train, run.data.sequence_length, run.model)
            jax.eval_shape(fresh_state(run.model, run.train))

    messages = followed(begin, MISFIT, most=12, choose=lambda advices: advices[place])
    assert len(messages) == 8, messages


def run_of(words: list[str]) -> RunConfig:
    """`tiny` with these flags, read more quickly than by the parser of the command line."""
    changes: dict[str, dict[str, object]] = {}
    for flag, value in zip(words[::2], words[1::2], strict=True):
        group, field = flag.removeprefix("--").replace("-", "_").split(".")
        changes.setdefault(group, {})[field] = int(value) if value.isdecimal() else value
    run = preset("tiny")
    parts = {name: dataclasses.replace(getattr(run, name), **changes[name]) for name in changes}
    return dataclasses.replace(run, **parts)
