import json

import pytest

from launch.commands.presets import describe, main
from launch.presets.preset import PRESETS, preset, source
from model.flops import parameter_count

# From the released weights, to the parameter.
EXACT = {
    "gpt2-124m": 124_439_808,
    "gpt2-355m": 354_823_168,
    "gpt2-774m": 774_030_080,
    "gpt2-1.5b": 1_557_611_200,
    "llama3-1b": 1_235_814_400,
    "llama3-3b": 3_212_749_824,
    "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496,
    "llama3-405b": 405_853_388_800,
    "mistral-7b": 7_241_732_096,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "olmo2-1b": 1_484_916_736,
    "olmo2-7b": 7_298_617_344,
    "olmo2-13b": 13_716_198_400,
    "olmo2-32b": 32_234_279_936,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen3-32b": 32_762_123_264,
    # The text part.
    "gemma3-1b": 999_885_952,
    "gemma3-4b": 3_880_263_168,
    "gemma3-12b": 11_766_034_176,
    "gemma3-27b": 27_009_346_304,
    # With the head of masked tokens, and without BERT's pooler.
    "bert-base": 109_514_298,
    "bert-large": 335_174_458,
    "modernbert-base": 149_655_232,
    "t5-small": 60_506_624,
    "t5-base": 222_903_552,
    "t5-large": 737_668_096,
    "t5-v1.1-small": 76_961_152,
    "t5-v1.1-base": 247_577_856,
    "t5-v1.1-large": 783_150_080,
    "t5-v1.1-xl": 2_849_757_184,
    "t5-v1.1-xxl": 11_135_332_352,
    "resnet-18": 11_689_512,
    "resnet-50": 25_557_032,
    "convnext-t": 28_589_128,
    "convnext-s": 50_223_688,
    "convnext-b": 88_591_464,
    # With the 1000 labels of ImageNet; DINOv2 next to 22,056,576, 86,580,480 and 304,368,640.
    "vit-s16": 22_050_664,
    "vit-b16": 86_567_656,
    "vit-l16": 304_326_632,
    "dinov2-s14": 22_825_576,
    "dinov2-b14": 88_117_480,
    "dinov2-l14": 306_417_640,
    # By the sizes of Vaswani et al. 2017, Table 3, with biases in attention and feed-forward: the
    # table, 6 L (4 D^2 + 4 D + 2 D F + F + D + 4 D) and as many with twice the attention and 6 D.
    "transformer-base": 63_082_496,
    "transformer-big": 214_245_376,
}
# In millions: Brown et al. 2020, Table D.1; Chowdhery et al. 2022, Table 1; Smith et al. 2022;
# Narayanan et al. 2021, Table 1.
ROUNDED = {
    "gpt3-125m": 125,
    "gpt3-350m": 356,
    "gpt3-760m": 760,
    "gpt3-1.3b": 1_320,
    "gpt3-2.7b": 2_650,
    "gpt3-6.7b": 6_660,
    "gpt3-13b": 12_850,
    "gpt3-175b": 174_600,
    "palm-8b": 8_630,
    "palm-62b": 62_500,
    "palm-540b": 540_350,
    "mt-nlg-530b": 530_000,
    "megatron-1t": 1_008_000,
}


def test_every_published_preset_has_a_figure() -> None:
    ours = {name for name in PRESETS if name.startswith("tiny")}
    again = {name for name in set(PRESETS) - set(EXACT) if name.replace("spans", "v1.1") in EXACT}
    assert set(PRESETS) == {*ours, *EXACT, *again, *ROUNDED}


@pytest.mark.parametrize("name", EXACT)
def test_parameters_equal_the_released_weights(name: str) -> None:
    assert parameter_count(preset(name).model) == EXACT[name]


@pytest.mark.parametrize("name", ROUNDED)
def test_parameters_match_the_paper(name: str) -> None:
    assert parameter_count(preset(name).model) == pytest.approx(ROUNDED[name] * 1e6, rel=0.01)


def test_tiny_has_a_few_million_parameters() -> None:
    assert 1e6 <= parameter_count(preset("tiny").model) <= 5e6


@pytest.mark.parametrize("name", PRESETS)
def test_preset_fits_itself(name: str) -> None:
    config = preset(name)
    assert config.preset == name
    assert (longest := config.model.longest_row) is None or config.data.sequence_length <= longest
    assert config.train.optimizer.warmup_steps < config.train.steps
    assert source(name)


def test_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"preset=gpt3-157b must be .* try gpt3-175b"):
        preset("gpt3-157b")


def test_json_lists_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--json"])
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(PRESETS)
    assert rows == [describe(name) for name in PRESETS]


def test_embeddings_are_counted_apart() -> None:
    row = describe("gpt2-124m")
    assert row["parameters"] - row["parameters_without_embeddings"] == (50257 + 1024) * 768


def test_table_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in PRESETS:
        assert sum(line.startswith(name + " ") for line in lines) == 1
        assert f"# {source(name)}" in lines
