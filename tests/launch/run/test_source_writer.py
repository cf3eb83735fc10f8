"""Texts that are written of others: of each its own, whatever stands beside it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.tokenizer import ByteTokenizer
from launch.run.source_writer import SourceWriter, write_of_sources
from launch.run.text_generator import TextGenerator
from model.beams import Beams
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
        ids = [np.append(part, tokenizer.end.id) for part in tokenizer.encode_batch([*TEXTS] * 2)]
        make_many = functools.partial(SourceWriter, model, tokenizer, new=4, tokens_at_once=64)
        many = make_many(beams=None).write(ids)
        search = make_many(beams=Beams(count=2))
        best, best_alone = search.write(ids), search.write(ids[1:2])
        sources = jnp.asarray([[*TEXTS[0].encode(), tokenizer.end.id]])
        scores = jax.jit(lambda m, tokens: m.logits(m(sources, tokens)), compiler_options=QUICK)
        written = [tokenizer.begin.id]
        for n in range(4):
            tokens = jnp.asarray([written + [0] * (4 - len(written))])
            written.append(int(scores(model, tokens)[0, n].argmax()))
    assert tokenizer.decode_batch([written])[0] == alone[0].text
    assert together.apart and together.continuations == alone
    assert many == [each.text for each in alone] * 2
    assert best[:3] == best[3:] != many[:3] and [best[1]] == best_alone
    assert len({each.text for each in alone}) > 1
    assert "".join(pieces) == "\n" + alone[0].text
