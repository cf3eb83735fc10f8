"""What plans read from the declared weights, held to formulae written by hand from the sizes."""

import dataclasses
import math

import pytest

from launch.presets.preset import PRESETS, preset
from model.families.decoder_config import DecoderConfig
from model.families.encoder_config import EncoderConfig
from model.flops import parameter_count
from tests.families import FAMILIES
from train.cut import cut, evenly_cut, recomputed

MODELS = {name: preset(name).model for name in PRESETS}
CONFIGS = FAMILIES | {n: model for n, model in MODELS.items() if isinstance(model, DecoderConfig)}


def decoder(name: str, **changes: object) -> DecoderConfig:
    return dataclasses.replace(CONFIGS[name], vocab_multiple=8, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("tensor", [1, 2, 4])
def test_a_chip_holds_what_the_sizes_say(name: str, tensor: int) -> None:
    config = decoder(name)
    if config.num_heads % tensor:
        return
    D, F, H = config.embed_dim, config.mlp_dim, config.head_dim
    shared = tensor if config.num_kv_heads % tensor == 0 else 1
    heads, kv_heads = config.num_heads // tensor, config.num_kv_heads // shared
    actual = cut(config, tensor)
    key, wide = D * kv_heads * H, D * F // tensor
    wanted = {"w_q": D * heads * H, "w_k": key, "w_v": key, "w_o": heads * H * D}
    wanted |= {"w_up": wide, "w_down": wide} | ({"w_gate": wide} if config.gated else {})
    assert {path.split("/")[-1]: size for path, size in actual.matrices.items()} == wanted
    assert actual.whole == (2 * key if shared < tensor else 0)
    tables = 1 if config.tied_embedding else 2
    assert actual.tables == (config.table_rows // tensor * D,) * tables
    assert actual.rows == config.table_rows / tensor
    norm = D * (2 if config.norm == "layernorm" and config.bias else 1)
    biases = H * (heads + 2 * kv_heads) if config.bias or config.qkv_bias else 0
    biases += 2 * D + F // tensor if config.bias else 0
    biases += {"none": 0, "head": 2 * H, "all": H * (heads + kv_heads)}[config.qk_norm]
    norms = 1 if config.parallel_block else 4 if config.branch_norm == "both" else 2
    vectors = config.num_layers * (norms * norm + biases) + norm
    assert actual.vectors == vectors + (config.positions == "learned") * config.max_length * D
    both = (config.num_heads + config.num_kv_heads) * H
    ups = (2 if config.gated else 1) * F
    assert actual.split_channels == pytest.approx((2 * both + ups + F) / tensor)
    assert actual.split_outputs == both + config.num_kv_heads * H + ups
    assert actual.whole_outputs == 2 * D


@pytest.mark.parametrize("name", ["bert-base", "modernbert-base"])
@pytest.mark.parametrize("tensor", [1, 4])
def test_a_chip_holds_an_encoder_and_its_head(name: str, tensor: int) -> None:
    config = MODELS[name].padded_for(tensor)
    assert isinstance(config, EncoderConfig)
    D, F, L = config.embed_dim, config.mlp_dim, config.num_layers
    actual, ups = cut(config, tensor), 2 if config.gated else 1
    assert sum(actual.matrices.values()) == (4 * D * D + (ups + 1) * D * F) / tensor
    assert actual.head == {"task_head/w": D * D}
    elements = L * sum(actual.matrices.values()) + D * D + sum(actual.tables) + actual.vectors
    biases = L * (3 * D + F) + config.table_rows if config.bias else config.table_rows
    cut_elements = elements * tensor - (tensor - 1) * (D * D + actual.vectors)
    assert cut_elements == parameter_count(config) - (tensor - 1) / tensor * biases
    assert evenly_cut(config) == math.gcd(config.num_heads, F)


@pytest.mark.parametrize("name", CONFIGS)
def test_all_but_the_last_branch_is_computed_again(name: str) -> None:
    config = decoder(name)
    D, F, heads = config.embed_dim, config.mlp_dim, config.num_heads * config.head_dim
    whole = 2 * D * config.head_dim * (config.num_heads + config.num_kv_heads)
    whole += (3 if config.gated else 2) * D * F
    last = D * F + (D * heads if config.parallel_block else 0)
    last = last if config.branch_norm == "before" else 0  # A norm after it reads it.
    assert recomputed(config) == pytest.approx(1 - last / whole, rel=1e-12)


def test_what_cuts_heads_and_width_evenly() -> None:
    assert evenly_cut(decoder("gpt", num_heads=12, num_kv_heads=4, mlp_dim=40)) == 4
