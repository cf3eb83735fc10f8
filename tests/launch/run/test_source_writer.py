"""Texts that are written of others: of each its own, whatever stands beside it."""

import functools
from typing import Any

import jax
import pytest

from data.tokenizer import ByteTokenizer
from launch.run.source_writer import write_of_sources
from launch.run.text_generator import TextGenerator
from model.families.encoder_decoder_config import EncoderDecoderConfig
from model.sampling import Sampling
from tests.families import QUICK
from tests.models import mesh_of

CONFIG = EncoderDecoderConfig(
    vocab_size=257,
    num_layers=1,
    embed_dim=16,
    num_heads=2,
    head_dim=8,
    mlp_dim=32,
    max_length=16,
    init_std=0.5,
    positions="learned",
    dtype="float32",
    attention="xla",
)
TEXTS = ("abc", "longer text", "")


def test_each_source_is_written_of_as_if_it_were_alone() -> None:
    tokenizer, key = ByteTokenizer(), jax.random.key(0)
    settings: Any = {"tokenizer": tokenizer, "new": 4, "sampling": Sampling(temperature=0.0)}
    make, pieces = (lambda model: TextGenerator(model, **settings)), []
    with jax.set_mesh(mesh_of()):
        model = jax.jit(lambda: CONFIG.build(key), compiler_options=QUICK)()
        write = functools.partial(write_of_sources, model, tokenizer, generator=make, key=key)
        together = write(TEXTS, on_text=pieces.append)
        alone = [write([text]).continuations[0] for text in TEXTS]
        with pytest.raises(ValueError, match=r"must be at most model\.max_length=16"):
            write(["more than sixteen bytes"])
    assert together.apart and together.continuations == alone
    assert len({each.text for each in alone}) > 1
    assert "".join(pieces) == "\n" + alone[0].text
