import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.families.decoder_config import DecoderConfig
from model.families.rope_scaling import RopeScaling
from tests.families import GEMMA, GPT, LLAMA, VASWANI


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (GPT, {"num_kv_heads": 3}, r"num_kv_heads=3 must divide model\.num_heads=8"),
        (GPT, {"num_kv_heads": 16}, r"num_kv_heads=16 must divide model\.num_heads=8"),
        (LLAMA, {"head_dim": 5}, r"head_dim=5 must be even .*try --model.head-dim 6"),
        (GEMMA, {"parallel_block": True}, r"branch_norm=both must be before .*try --model.no-par"),
        (LLAMA, {"rotary_share": 0.25}, r"rotary_share=0.25 must leave an even .*it leaves 1; try"),
        (VASWANI, {"embed_dim": 15}, r"embed_dim=15 must be even .*try --model.embed-dim 16"),
    ],
)
def test_sizes_that_contradict_are_refused(
    config: DecoderConfig, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(config, **changes)


def test_stretching_that_contradicts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"factor=2.0 must be 1 with .*kind=none.*try --model"):
        RopeScaling(factor=2.0)
    with pytest.raises(ValueError, match=r"fastest=1.0 must be above .*slowest=1.0.*fastest 32"):
        RopeScaling(kind="yarn", factor=2.0, fastest=1.0)
    with pytest.raises(ValueError, match=r"slowest=40.0.*try --model.rope-scaling.slowest 1$"):
        RopeScaling(kind="yarn", factor=2.0, slowest=40.0)


@given(vocab=st.integers(1, 10_000), multiple=st.integers(1, 512))
def test_padding_is_the_smallest_that_the_multiple_divides(vocab: int, multiple: int) -> None:
    config = dataclasses.replace(GPT, vocab_size=vocab, vocab_multiple=multiple)
    padded = config.table_rows
    assert padded % multiple == 0
    assert vocab <= padded < vocab + multiple


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parametrization": "mup"}, r"base_width=None must be .*; try --model.base-width 16, "),
        ({"depth_scaling": "sqrt"}, r"base_depth=None must be .*; try --model.base-depth 2, "),
        (
            {"base_width": 8},
            r"base_width=8 must be None here, .* --model.parametrization mup reads",
        ),
        ({"base_head_dim": 8}, r"base_head_dim=8 must be None here"),
        ({"base_depth": 8}, r"base_depth=8 must be None here, .* --model.depth-scaling linear"),
    ],
)
def test_a_base_shape_is_set_where_it_is_read_and_only_there(
    changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(GPT, **changes)
