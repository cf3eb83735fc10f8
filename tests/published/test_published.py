import statistics

import pytest

from launch.plan.efficiency import MATMUL, efficiency
from launch.plan.published import points
from model.flops import parameter_count
from tests.command import ROOT
from tests.published.__main__ import derived, drift, fit, rewritten
from tests.published.case import (
    EXTRA,
    FITTED,
    JUDGED,
    RUNS,
    Case,
    case_of,
    chips_of,
    published,
)
from tests.published.run import Run, Unit
from train.chips import CHIPS

PAGE = ROOT / "docs" / "plan.md"
CASES = {run.name: case_of(run) for run in RUNS}


def test_committed_efficiencies_are_those_of_the_fit() -> None:
    matmul, shared = fit(FITTED)
    assert drift(matmul, shared) < 0.002
    assert drift({**matmul, "v5p": matmul["v5p"] + 0.01}, shared) > 0.002


def test_every_other_run_is_judged() -> None:
    assert len(RUNS) >= 48
    assert len(CASES) == len(RUNS)
    assert not {run.name for run in FITTED} & {run.name for run in JUDGED}
    for half in (FITTED, JUDGED):
        platforms = [CHIPS[run.chip].platform for run in half]
        assert min(platforms.count("tpu"), platforms.count("gpu")) >= 12
    assert {run.chip for run in FITTED} == {run.chip for run in JUDGED} == set(MATMUL)


@pytest.mark.parametrize("platform", ["tpu", "gpu"])
def test_half_of_the_judged_runs_are_within_15_percent(platform: str) -> None:
    judged: list[Case] = [CASES[run.name] for run in JUDGED]
    errors = [
        abs(case.error(efficiency(case.chip))) for case in judged if case.chip.platform == platform
    ]
    assert statistics.median(errors) < 0.15


def test_table_in_the_docs_is_that_of_the_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert rewritten(page) == page


def run(name: str) -> Run:
    return next(each for each in (*RUNS, *EXTRA) if each.name == name)


def test_extra_runs_are_of_chips_that_were_fitted() -> None:
    names = [each.name for each in (*RUNS, *EXTRA)]
    assert len(names) == len(set(names)) == 170
    assert {each.chip for each in EXTRA} == {"a100", "h100"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # The table's own column NumParams.
        ("MPT 1b, 8 H100, 14 x 2,048 tokens", 1_315_950_592),
        ("MPT 1b, 8 A100, 1 x 65,536 tokens", 1_445_974_016),
        ("MPT 30b, 8 A100, 12 x 512 tokens", 29_964_204_032),
        ("MPT 760m, 8 H100, 3 x 16,384 tokens", 782_490_624),
        ("MPT 350m, 8 A100, 4 x 16,384 tokens", 370_665_472),
        ("MPT 125m, 8 A100, 40 x 2,048 tokens", 125_311_488),
        ("MPT 3b, 8 H100, 20 x 1,024 tokens", 2_649_216_000),
    ],
)
def test_models_of_extra_runs_have_the_published_parameters(name: str, parameters: int) -> None:
    assert parameter_count(run(name).model) == parameters


@pytest.mark.parametrize(
    ("name", "figure", "unit"),
    [
        # Each publication gives two figures of the same run.
        ("MT-NLG 530B, 2240 A100", 126, "TFLOP/s a chip"),
        ("MT-NLG 530B, 3360 A100", 113, "TFLOP/s a chip"),
        ("MPT 70b, 64 H100", 0.4257 * 989.5, "TFLOP/s a chip"),
        ("MPT 1b, 8 H100, 14 x 2,048 tokens", 0.4182 * 989.5, "TFLOP/s a chip"),
        ("MPT 125m, 8 A100, 128 x 512 tokens", 0.4256 * 312, "TFLOP/s a chip"),
        ("MPT 7b, 8 H100, 1 x 65,536 tokens", 0.2859 * 989.5, "TFLOP/s a chip"),
        ("MaxText Llama 3.1 8B, 256 v6e", 0.4546 * 918, "TFLOP/s a chip"),
        ("PaLM 540B, 2 x 3072 v4", 0.462 * 275, "TFLOP/s a chip"),
        ("torchtitan Llama 3 70B, 64 A100", 0.517 * 312, "TFLOP/s a chip"),
    ],
)
def test_figures_of_one_run_agree_on_its_seconds(name: str, figure: float, unit: Unit) -> None:
    other = run(name)._replace(
        figure=figure,
        unit=unit,
        scores_counted="twice",
        recomputation_counted=name.startswith("MT-NLG"),
    )
    assert published(other) == pytest.approx(published(run(name)), rel=0.015)


def test_a_pipeline_waits_for_its_first_and_last_micro_batches() -> None:
    """35 stages, 240 micro-batches: 34 / 240; interleaved in 3 parts, 280: 34 / 840."""
    assert CASES["MT-NLG 530B, 2240 A100"].bubble == pytest.approx(34 / 240)
    recomputed = CASES["Megatron-LM 530B, 2240 A100, all recomputed"]
    assert recomputed.bubble == pytest.approx(34 / 840)
    assert CASES["MPT 7b, 8 H100"].bubble == 0


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        # The last product over all of a layer, each over the width of the residual stream.
        ("MaxText 16B, 1 x v5e-256", 28672 / (4 * 8192 + 3 * 28672)),
        ("MaxText 1024B, 1 x v5p-2048", 114688 / (4 * 32768 + 3 * 114688)),
        ("MaxText 22B, 1 x v4-128", 4 / 12),
        ("MaxText 52B, 1 x v4-384", 49152 / (4 * 8192 + 2 * 49152)),
        ("MaxText 32B, 1 x v5p-128", 1.0),
    ],
)
def test_of_a_layer_of_which_nothing_is_kept_all_but_the_last_product_is_computed_again(
    name: str, kept: float
) -> None:
    assert run(name).again == pytest.approx(1 - kept)


def test_runs_have_the_chips_of_their_names_and_whole_rows() -> None:
    assert chips_of(run("PaLM 540B, 2 x 3072 v4")) == 6144
    assert chips_of(run("Llama 3 405B, 16384 H100")) == 16384
    for each in RUNS:
        assert each.batch_size % (each.sizes.get("replica", 1) * each.sizes.get("fsdp", 1)) == 0


def test_the_table_that_plans_read_is_that_of_the_published_runs() -> None:
    for point, run in zip(points(), derived(), strict=True):
        assert point._replace(error=0.0) == run._replace(error=0.0)
        assert point.error == pytest.approx(run.error, abs=1e-9)
