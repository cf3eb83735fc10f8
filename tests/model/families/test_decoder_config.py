import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.families.decoder_config import DecoderConfig
from tests.families import GPT, LLAMA, VASWANI


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (GPT, {"num_kv_heads": 3}, r"num_kv_heads=3 must divide model\.num_heads=8"),
        (GPT, {"num_kv_heads": 16}, r"num_kv_heads=16 must divide model\.num_heads=8"),
        (LLAMA, {"head_dim": 5}, r"head_dim=5 must be even .*try --model.head-dim 6"),
        (VASWANI, {"embed_dim": 15}, r"embed_dim=15 must be even .*try --model.embed-dim 16"),
    ],
)
def test_sizes_that_contradict_are_refused(
    config: DecoderConfig, changes: dict[str, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(config, **changes)


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
