import dataclasses

import pytest
from models import SMALL, TRAIN

from launch.build import resolve_train
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


def test_chunk_on_a_cpu_fills_its_cache_and_a_given_one_stays() -> None:
    assert resolve_train(WANTED, SMALL, "cpu").loss_chunk == LOGITS_BYTES["cpu"] // (4 * 64)
    given = dataclasses.replace(TRAIN, loss_chunk=77)
    assert resolve_train(given, SMALL, "tpu").loss_chunk == 77
