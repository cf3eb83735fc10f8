import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launch.presets.preset import PRESETS, preset
from model.families.decoder_config import DecoderConfig
from model.families.recurrent_config import RecurrentEncoderDecoderConfig
from model.flops import average_keys, flops_per_token, parameter_count
from tests.families import FAMILIES, GPT

NORMED = {"none": lambda N, K: 0, "head": lambda N, K: 2, "all": lambda N, K: N + K}


def counted(config: DecoderConfig) -> int:
    """Parameters by hand, from the sizes alone."""
    D, F, H = config.embed_dim, config.mlp_dim, config.head_dim
    N, K, L = config.num_heads, config.num_kv_heads, config.num_layers
    norm = D * (2 if config.norm == "layernorm" and config.bias else 1)
    block = 2 * D * H * (N + K) + (3 if config.gated else 2) * D * F
    block += (1 if config.parallel_block else 4 if config.branch_norm == "both" else 2) * norm
    if config.bias:
        block += D + F + D
    block += H * (N + 2 * K) * (config.bias or config.qkv_bias) + NORMED[config.qk_norm](N, K) * H
    rows = (1 if config.tied_embedding else 2) * config.table_rows
    rows += config.max_length if config.positions == "learned" else 0
    return rows * D + L * block + norm


def test_count_of_every_decoder_is_that_by_hand() -> None:
    models = {name: preset(name).model for name in PRESETS}
    decoders = {name: m for name, m in models.items() if isinstance(m, DecoderConfig)}
    assert len(decoders) == 41
    assert {n: parameter_count(m) for n, m in decoders.items()} == {
        n: counted(m) for n, m in decoders.items()
    }


@given(
    family=st.sampled_from(sorted(FAMILIES)),
    heads=st.sampled_from([(1, 1), (4, 4), (6, 2), (6, 1)]),
    sizes=st.fixed_dictionaries(
        {
            "vocab_size": st.integers(1, 40),
            "vocab_multiple": st.integers(1, 8),
            "num_layers": st.integers(1, 3),
            "embed_dim": st.sampled_from([2, 6, 10]),
            "head_dim": st.sampled_from([2, 4]),
            "mlp_dim": st.integers(1, 9),
            "max_length": st.integers(1, 9),
        }
    ),
    flags=st.fixed_dictionaries(
        dict.fromkeys(["gated", "bias", "parallel_block", "tied_embedding"], st.booleans())
    ),
)
@settings(max_examples=15)
def test_count_of_any_config_is_that_by_hand(
    family: str, heads: tuple[int, int], sizes: dict[str, int], flags: dict[str, bool]
) -> None:
    # Half of a small head is no pair of channels.
    base = dataclasses.replace(FAMILIES[family], rotary_share=1.0)
    flags["parallel_block"] &= base.branch_norm == "before"
    config = dataclasses.replace(base, num_heads=heads[0], num_kv_heads=heads[1], **sizes, **flags)
    assert parameter_count(config) == counted(config)


def test_flops_of_gpt2_124m_by_hand() -> None:
    """A layer has 4 D^2 + 8 D^2 weights; scores and values are 2 x T/2 x D multiply-adds a
    layer."""
    D, L, V, T = 768, 12, 50_257, 1024
    weights = L * 12 * D * D + V * D
    attention = L * 2 * (T / 2) * D
    assert flops_per_token(preset("gpt2-124m").model, T) == 3 * 2 * (weights + attention)
    assert flops_per_token(preset("gpt2-124m").model, T) == pytest.approx(7.98e8, rel=1e-3)


def test_flops_of_gpt3_count_the_band() -> None:
    """Half of the 96 layers see at most 256 keys: 1, 2, ... 256 and then 256 to the end of the
    row."""
    D, L, V, T, W = 12_288, 96, 50_257, 2048, 256
    dense = T / 2
    banded = (W * W / 2 + (T - W) * W) / T
    weights = L * 12 * D * D + V * D
    attention = (L / 2 * dense + L / 2 * banded) * 2 * D
    assert flops_per_token(preset("gpt3-175b").model, T) == pytest.approx(
        6 * (weights + attention), rel=1e-12
    )


def test_flops_of_t5_count_each_side() -> None:
    """Of a source token, a tenth of a target token: layers that read have 4 D^2 + 3 D F weights,
    those that write 8 D^2 + 3 D F, of which the keys and values of the source meet its tokens."""
    D, F, L, V, S, T = 768, 2048, 12, 32_128, 500, 50
    model = preset("t5-v1.1-base").model
    reading = 4 * D * D + 3 * D * F
    writing = T / S * (6 * D * D + 3 * D * F) + 2 * D * D
    attention = S + T / S * T / 2 + T / S * S
    weights = L * (reading + writing) + T / S * V * D
    wanted = 6 * (weights + L * attention * 2 * D)
    assert flops_per_token(model, S, T / S) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("attention", [False, True])
def test_flops_of_a_recurrent_encoder_decoder_count_each_side(attention: bool) -> None:
    """Of a source token, a quarter of a target token: a cell of an LSTM has 4 H (D + H) weights in
    each direction, of H / 2 where there are two; the attention has 3 H^2, and each place of the
    target sees all of the source."""
    D, H, V, S, T = 32, 48, 257, 200, 50
    model = RecurrentEncoderDecoderConfig(
        vocab_size=V,
        num_layers=1,
        embed_dim=D,
        hidden_dim=H,
        bidirectional=True,
        tied_embedding=False,
        attention=attention,
    )
    reading, writing = 2 * 4 * (H // 2) * (D + H // 2), 4 * H * (D + H)
    across = (3 * H * H + 2 * S * H) if attention else 0
    wanted = 6 * (reading + T / S * (writing + across + V * H))
    assert flops_per_token(model, S, T / S) == pytest.approx(wanted, rel=1e-12)


def test_every_layer_may_be_banded() -> None:
    alternate = dataclasses.replace(GPT, window=3)
    every = dataclasses.replace(alternate, global_every=None)
    dense, some, all_layers = (flops_per_token(c, 16) for c in (GPT, alternate, every))
    assert dense > some > all_layers
    assert dense - some == pytest.approx(some - all_layers)
    assert flops_per_token(dataclasses.replace(every, window=16), 16) == dense


@given(length=st.integers(1, 200), window=st.integers(1, 200))
def test_average_keys_is_the_mean_of_the_keys_seen(length: int, window: int) -> None:
    exact = sum(min(t + 1, window) for t in range(length)) / length
    assert average_keys(length, window) == pytest.approx(exact, abs=0.5)
