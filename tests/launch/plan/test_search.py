"""The search over layouts, with the real compiler of TPUs on one chip that is not there."""

import dataclasses
from pathlib import Path

import pytest

from launch.config import RunConfig
from launch.plan.estimate import estimates as estimates_of
from launch.plan.layouts import OFFLOAD, layouts
from launch.plan.pictures import draw_search, pareto
from launch.plan.plan import plan_json, plan_text
from launch.plan.search import Search, nothing_fits, search, search_json, search_text
from launch.plan.topology import parse
from launch.presets.preset import preset
from tests.command import meshloom

CHIP = parse("v5e-1")


@pytest.fixture(scope="module")
def config() -> RunConfig:
    tiny = preset("tiny")
    model = dataclasses.replace(tiny.model, num_layers=1)
    return dataclasses.replace(
        tiny, model=model, train=dataclasses.replace(tiny.train, batch_size=2)
    )


@pytest.fixture(scope="module")
def output() -> list[str]:
    return []


@pytest.fixture(scope="module")
def searched(
    config: RunConfig, output: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Search:
    """A search whose third layout fails, as its program cannot be written."""
    folder = tmp_path_factory.mktemp("search")
    (folder / "layout-3" / "step.hlo").mkdir(parents=True)
    return search(config, CHIP, folder, output.append)


def test_the_fastest_of_those_that_fit_is_taken(searched: Search) -> None:
    assert len(searched.estimates) == 6
    tried = [e for e, _ in searched.plans] + [e for e, _ in searched.failed]
    assert {e.config.model.remat for e in tried} == {"none", "dots", "full"}
    assert len(tried) == 3, "layouts that differ in little are left out"
    assert all(plan.fit.fits and plan.time.origin == "compiler" for _, plan in searched.plans)
    assert searched.best.time.seconds == min(plan.time.seconds for _, plan in searched.plans)
    assert searched.best.config.model.remat != "full", "what fits needs nothing computed again"


def test_text_has_the_flags_and_fits_the_screen(searched: Search, config: RunConfig) -> None:
    output = search_text(searched, config).splitlines()
    assert max(map(len, output)) <= 80
    assert (
        output[-1].split()
        == f"--mesh.fsdp 1 --model.remat {searched.best.config.model.remat}".split()
    )
    assert sum(line.endswith("*") for line in output) == 1
    assert not any("export" in line for line in output)
    json = search_json(searched, config)
    assert json["environment"] is None
    assert len(json["layouts"]) == 6 and len(json["compiled"]) == 2


def test_a_share_that_must_be_larger_is_among_what_to_paste(
    searched: Search, config: RunConfig
) -> None:
    verdict = "fits if a process may take more"
    fit = dataclasses.replace(searched.best.fit, verdict=verdict, peak=80, limit=100)
    more = dataclasses.replace(searched, best=dataclasses.replace(searched.best, fit=fit))
    variable = "XLA_CLIENT_MEM_FRACTION=0.82"
    assert search_text(more, config).splitlines()[-2:-1] == [f"  export {variable}"]
    assert search_json(more, config)["environment"] == variable


def test_files_of_the_plan_and_of_the_compiler_are_printed(
    searched: Search, tmp_path: Path
) -> None:
    best = searched.best
    said = plan_text(best, tmp_path).splitlines()[-2:]
    assert said == [f"files: {tmp_path}", f"of the compiler: {best.step.folder}"]
    assert plan_text(best, best.step.folder).splitlines()[-1] == f"files: {best.step.folder}"
    assert (best.step.folder / "step.hlo").is_file()
    assert plan_json(best)["course"]["origin"].startswith("arithmetic roofline over the comp")


def test_the_best_plan_is_compared_with_what_was_fitted(searched: Search, tmp_path: Path) -> None:
    text = plan_text(searched.best, tmp_path)
    assert "\nOUTSIDE what the time was fitted on: 300 K parameters; rows of 256 " in text
    assert plan_json(searched.best)["domain"]["outside"] == ("parameters", "length", "chips")


def test_a_layout_that_the_compiler_fails_for_is_set_aside(
    searched: Search, config: RunConfig, output: list[str]
) -> None:
    ((_, message),) = searched.failed
    assert "step.hlo" in message and output[-1] == f"set aside: {message}"
    assert sum("failed" in line for line in search_text(searched, config).splitlines()) == 1
    assert search_json(searched, config)["failed"][0]["message"] == message


def test_the_picture_is_drawn(searched: Search, tmp_path: Path) -> None:
    draw_search(searched, tmp_path / "search.png")
    assert (tmp_path / "search.png").read_bytes()[:4] == b"\x89PNG"


def test_estimates_grow_with_what_a_layout_keeps_and_recomputes() -> None:
    run = preset("llama3-8b")
    at = {
        (e.config.mesh.tensor, e.config.train.accumulation, e.config.model.remat): e
        for e in estimates_of(run, parse("v5p-128"))
        if e.config.mesh.replica == 1
    }
    kept = [at[1, 4, remat].bytes for remat in ("none", "dots", "full")]
    assert kept == sorted(kept, reverse=True) and kept[0] > kept[2]
    assert at[1, 4, "full"].time.seconds > at[1, 4, "none"].time.seconds
    assert at[1, 16, "full"].bytes < at[1, 4, "full"].bytes
    assert len(list(layouts(run, parse("v5p-128")))) >= len(at)


def test_nothing_beats_what_stands_on_the_front() -> None:
    estimates = list(estimates_of(preset("llama3-8b"), parse("v5p-128")))
    front = pareto(estimates)
    for estimate in front:
        assert not any(
            other.time.seconds <= estimate.time.seconds and other.bytes < estimate.bytes
            for other in estimates
        )
    assert min(e.time.seconds for e in estimates) == front[0].time.seconds
    assert min(e.bytes for e in estimates) == front[-1].bytes


def test_a_model_too_large_for_every_layout_is_refused_before_the_search(tmp_path: Path) -> None:
    output = meshloom(
        "plan", "gpt3-6.7b", "--on", "v5e-1", "--search", "--out", str(tmp_path), expect=1
    ).stderr
    assert "on=v5e:1x1 must hold the parameters" in output


def test_where_no_layout_fits_the_smallest_is_named(searched: Search, config: RunConfig) -> None:
    smallest = min(plan.fit.peak for _, plan in searched.plans) / 2**30
    output = str(nothing_fits(config, CHIP, searched.estimates, searched.plans))
    assert "of 6 layouts the 2 that promised most were compiled" in output
    room = searched.best.fit.limit / 2**30
    assert f"the smallest of them takes {smallest:,.1f} GiB of {room:,.1f} GiB a device" in output
    assert OFFLOAD in output
    assert "; try --on v5e:2x2, 4 chips, where the smallest layout takes about " in output
