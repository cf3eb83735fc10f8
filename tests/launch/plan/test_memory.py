import dataclasses
from pathlib import Path
from typing import Any

import jax
import pytest

from launch.config import MeshConfig
from launch.plan.compile_step import logical, wanted
from launch.plan.compiler import CompiledStep
from launch.plan.memory import MemoryFit, fit_lines, fit_of, require_possible
from launch.plan.plan import require_layout
from launch.plan.topology import parse
from launch.presets.preset import preset
from launch.run.build import fresh_state, step_arguments
from tests.models import SMALL, TRAIN, changed, mesh_of, shapes_of
from train.step import make_train_step

LOGICAL = {"parameters": 400, "optimizer": 804, "moving average": 0, "batch": 20}
STEP: dict[str, Any] = {
    "logical": LOGICAL,
    "mesh": {},
    "attention": "xla",
    "seconds": 1.0,
    "cpu_seconds": 1.0,
    "rss": 1,
    "folder": Path("plan"),
}
EMA = changed(TRAIN, ema_decay=0.9)


def compiled(*, limit: int, peak: int, temporaries: int = 0, host: int = 0) -> CompiledStep:
    sizes = {"arguments": 1300, "temporaries": temporaries, "peak": peak, "host": host}
    return CompiledStep(**STEP, limit=limit, bytes=sizes)


@pytest.mark.parametrize(
    ("on", "temporaries", "peak", "verdict"),
    [
        ("v5p-8", 3000, 4300, "fits"),
        ("v5p-8", 9000, 5000, "fits"),  # a TPU's compiler breaks off if there is too little
        ("h100x4", 2000, 3300, "fits"),
        ("h100x4", 9000, 10_300, "does not fit"),
    ],
)
def test_what_lies_in_the_hosts_memory_fills_no_device(
    on: str, temporaries: int, peak: int, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler's peak of such a step counts the host's memory: 9,000 of 5,000 here."""
    monkeypatch.delenv("XLA_CLIENT_MEM_FRACTION", raising=False)
    both = compiled(limit=5000, peak=9000, temporaries=temporaries, host=7000)
    fit = fit_of(both, parse(on))
    assert (fit.peak, fit.verdict, fit.host) == (peak, verdict, 7000)
    assert sum(parts(fit).values()) == peak


def parts(fit: MemoryFit) -> dict[str, int]:
    return {part.name: part.bytes for part in fit.parts}


@pytest.mark.parametrize("packed", [False, True])
def test_logical_bytes_are_those_of_the_compiled_arguments(packed: bool) -> None:
    with jax.set_mesh(mesh_of(replica=2, fsdp=2, tensor=2)):
        state, *rest = step_arguments(
            jax.eval_shape(fresh_state(SMALL, EMA)), shapes_of(EMA.batch_size, packing=packed)
        )
        output = logical(state, rest)
        program = make_train_step(EMA).lower(state, *rest).compile()
    result = program.memory_analysis()
    assert result is not None
    assert sum(output.values()) == result.argument_size_in_bytes
    assert output["moving average"] == output["parameters"] > 0


def test_parts_sum_to_the_peak() -> None:
    fit = fit_of(compiled(limit=5000, peak=3000), parse("v5p-8"))
    assert fit.verdict == "fits"
    assert parts(fit) == {
        "parameters": 400,
        "optimizer": 804,
        "batch": 20,
        "padding of these": 76,
        "gradients": 400,
        "activations and temporaries": 1300,
    }
    assert {part.name: part.origin for part in fit.parts}["gradients"] == "arithmetic"
    assert all(len(line) <= 80 for line in fit_lines(fit, parse("tpu7x-8")))


def test_a_small_peak_is_printed_in_a_smaller_unit() -> None:
    for peak, unit, number in ((3 * 2**20, "MiB", "3.00"), (5 * 2**30, "GiB", "5.00")):
        fit = fit_of(compiled(limit=8 * 2**30, peak=peak), parse("v5p-8"))
        lines = fit_lines(fit, parse("v5p-8"))
        assert lines[0].split()[-3:] == [unit, "share", "from"]
        assert next(line.split()[1] for line in lines if line.startswith("peak")) == number


def test_gradients_are_no_more_than_the_compiler_left_room_for() -> None:
    fit = fit_of(compiled(limit=5000, peak=1500), parse("v5p-8"))
    assert parts(fit)["gradients"] == 200
    assert sum(parts(fit).values()) == 1500


def test_what_did_not_fit_is_printed_with_what_it_wanted() -> None:
    for whole, needed, peak, origin in (
        (True, 9000, 9000, "compiler"),
        (False, 9000, 9000, "compiler, arithmetic"),
        (True, 900, 1224, "compiler, arithmetic"),
    ):
        too_large = CompiledStep(limit=1000, needed=needed, whole=whole, **STEP)
        fit = fit_of(too_large, parse("v5p-8"))
        assert (fit.verdict, fit.peak, sum(parts(fit).values())) == ("does not fit", peak, peak)
        output = next(line for line in fit_lines(fit, parse("v5p-8")) if line.startswith("wanted"))
        assert output.endswith(f"%   {origin}") and len(output) <= 80


def test_compiler_out_of_room_says_all_of_it_or_its_temporaries() -> None:
    all_of_it = "Ran out of memory in memory space hbm. Used 20.00G of 15.75G hbm."
    assert wanted(all_of_it, 7) == {"needed": 20 * 2**30, "whole": True}
    alone = "HLO temporaries (2.00M) exceed available HBM (15.75G)"
    assert wanted(alone, 7) == {"needed": 2 * 2**20 + 7, "whole": False}
    assert wanted("INTERNAL: oops\nmore", 7) == {"failed": "INTERNAL: oops"}


def test_peak_is_no_less_than_the_arguments_of_the_step() -> None:
    fit = fit_of(compiled(limit=5000, peak=1000), parse("v5p-8"))
    assert fit.peak == sum(parts(fit).values()) == 1300


@pytest.mark.parametrize(
    ("peak", "fraction", "verdict"),
    [
        (3700, None, "fits"),
        (3800, None, "fits if a process may take more"),
        (3800, "0.9", "fits"),
        (4900, None, "does not fit"),
    ],
)
def test_jax_takes_a_share_of_a_gpu(
    peak: int, fraction: str | None, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLA_CLIENT_MEM_FRACTION", fraction or "")
    fit = fit_of(compiled(limit=5000, peak=peak), parse("h100x8"))
    assert (fit.verdict, fit.most) == (verdict, 4750)
    assert verdict.startswith("fits") == ("fits" in fit_lines(fit, parse("h100x8"))[-1])


def test_model_that_no_layout_holds_is_refused_with_chips_that_would_do() -> None:
    run = preset("llama3-405b")
    with pytest.raises(ValueError, match=r"4,536 GiB .* 760 GiB .*try --on v5p:4x8x8, 256 chips"):
        require_possible(run, parse("v5p-16"))
    require_possible(run, parse("v5p-128"))
    with pytest.raises(ValueError, match=r"try --on h100x256, 256 chips"):
        require_possible(run, parse("h100x8"))


def test_each_slice_needs_room_for_the_state() -> None:
    run = preset("llama3-405b")
    with pytest.raises(ValueError, match=r"the chips of a slice have 4,096 GiB .*would not do"):
        require_possible(run, parse("4xv5e-256"))


def test_layout_is_required() -> None:
    run = preset("tiny")
    with pytest.raises(ValueError, match=r"try --mesh.fsdp 8.*--search"):
        require_layout(run, parse("v5p-16"))
    require_layout(run, parse("v5e-1"))
    require_layout(dataclasses.replace(run, mesh=MeshConfig(fsdp=8)), parse("v5p-16"))
