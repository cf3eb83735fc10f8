"""What is predicted before it is trained: an artifact with the hash of its inputs, and afterwards
how it compares."""

import bisect
import math
import statistics
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from launch.ladder.backtest import EXTRAPOLATION, Backtest, lever
from launch.ladder.cells import Cell
from launch.ladder.directory import StudyDirectory, read_json, write_json
from launch.ladder.fit import ScalingFit, fit, predict
from launch.ladder.interval import Estimated, plain
from launch.ladder.results import digest_of, runs_of
from launch.ladder.study import Study
from launch.ladder.summary import WIDTH, optimum_facts, optimum_lines
from model.flops import embedding_parameters, flops_per_token, parameter_count


def targets_of(study: StudyDirectory) -> dict[str, list[Cell]]:
    """The held-out cells by what they are; those of one name differ in their seed alone."""
    targets: dict[str, list[Cell]] = {}
    for cell in study.cells:
        if cell.held_out:
            targets.setdefault(f"w{cell.width}-n{cell.config.train.steps}", []).append(cell)
    return targets


def forecast_of(study: StudyDirectory, flops: Sequence[float]) -> dict[str, Any]:
    """The forecast of a study: made and written, or read if there is one.

    ValueError if the runs show no law, if its inputs have changed since, or if what it would
    predict is known already.
    """
    if (forecast := written_forecast(study, flops)) is not None:
        return forecast
    held_out = [cell for cells in targets_of(study).values() for cell in cells]
    if begun := [cell for cell in held_out if study.ended(cell) or study.runs_of(cell)]:
        raise UserError(
            "forecast.json must be written before held-out cells are trained, because afterwards "
            f"it is none, but {begun[0].name} was begun; try a study with other held-out cells"
        )
    law_fit = fit(runs_of(study))
    if law_fit.refused:
        raise UserError(
            f"dir={study.path} must hold runs that show where the best size lies, because nothing "
            "is predicted on a guess, but " + "; ".join(law_fit.refused) + "; try more cells"
        )
    names = [run.name for run in law_fit.runs]
    forecast = {
        "inputs": digest_of(study, names),
        "cells": names,
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "runs": len(law_fit.runs),
        "approach": law_fit.surface.name,
        "law": plain(law_fit.surface.law),
        "undetermined": law_fit.surface.undetermined,
        "failed_backtests": [miss.warning for miss in law_fit.missed],
        "noise": law_fit.noise,
        "held_out": [_target(law_fit, name, cells) for name, cells in targets_of(study).items()],
        "at": [_at(study.study, law_fit, compute) for compute in flops],
    }
    write_json(_path(study), forecast)
    return forecast


def _path(study: StudyDirectory) -> Path:
    return study.path / "forecast.json"


def _read(study: StudyDirectory) -> dict[str, Any] | None:
    forecast = read_json(_path(study))
    if forecast is not None and "made" in forecast:
        forecast["written"] = forecast.pop("made")  # its name in older versions
    return forecast


def written_forecast(study: StudyDirectory, flops: Sequence[float] = ()) -> dict[str, Any] | None:
    """The forecast that was written, None without one.

    ValueError if it is not of the cells that are held out, of the results that are there, or of
    computes that are asked for; a grid may have grown since.
    """
    if (forecast := _read(study)) is None:
        return None
    predicted = [name for target in forecast["held_out"] for name in target["cells"]]
    asked = [cell.name for cells in targets_of(study).values() for cell in cells]
    if predicted != asked:
        raise UserError(
            f"held_out={', '.join(asked) or 'nothing'} must be what {_path(study)} predicts, "
            "because a forecast is compared with what came of it, but that is "
            f"{', '.join(predicted)}; try the rows of held_out that it was made with"
        )
    if not _of_these_results(study, forecast):
        raise UserError(
            f"forecast={_path(study)} must be of the results that are there, because it is "
            "compared with what came of them, but they have changed since it was written; try "
            "bringing the results of its cells back"
        )
    known = [at["flops"] for at in forecast["at"]]
    if unknown := [compute for compute in flops if compute not in known]:
        raise UserError(
            f"flops={unknown[0]:g} must be of the forecast that was written, because that is not "
            f"changed, but it has {', '.join(f'{c:g}' for c in known) or 'none'}; try "
            f"`meshloom ladder fit {study.path} --flops {unknown[0]:g}`"
        )
    return forecast


def require_forecast(study: StudyDirectory) -> None:
    """ValueError unless the held-out cells are predicted, from the results that are there."""
    if written_forecast(study) is None:
        raise UserError(
            "held_out=True must come after a forecast, because what is known cannot be predicted; "
            f"try `meshloom ladder forecast {study.path}` first"
        )


def _of_these_results(study: StudyDirectory, forecast: dict[str, Any]) -> bool:
    return forecast["inputs"] == digest_of(study, forecast["cells"])


def _target(law_fit: ScalingFit, name: str, cells: Sequence[Cell]) -> dict[str, Any]:
    cell = cells[0]
    loss = predict(law_fit, cell.flops_per_token / 6, cell.tokens, seeds=len(cells))
    return {
        "name": name,
        "width": cell.width,
        "parameters": cell.parameters,
        "tokens": cell.tokens,
        "flops": cell.flops,
        "seeds": len(cells),
        "cells": [cell.name for cell in cells],
        "loss": plain(loss),
    }


def _at(study: Study, law_fit: ScalingFit, flops: float) -> dict[str, Any]:
    best = optimum_facts(law_fit, law_fit.surface, flops)
    return best if "reason" in best else best | {"model": _nearest(study, best["params"]["value"])}


def _nearest(study: Study, params: float) -> dict[str, int]:
    """The model of the family whose FLOPs a token are nearest."""
    length, step = study.base.data.sequence_length, study.family.head_dim

    def apart(width: int) -> float:
        model = study.base.model.of_width(width, study.family)
        return math.log(flops_per_token(model, length, study.base.data.scored_share) / 6 / params)

    widths = range(step, 2**16, step)
    above = min(bisect.bisect_left(widths, 0.0, key=apart), len(widths) - 1)
    nearest = min(widths[max(above - 1, 0) : above + 1], key=lambda width: abs(apart(width)))
    best = study.base.model.of_width(nearest, study.family)
    return {
        "width": best.width,
        "layers": best.depth,
        "parameters": parameter_count(best),
        "parameters_without_embeddings": parameter_count(best) - embedding_parameters(best),
    }


def backtests_of(study: StudyDirectory, forecast: dict[str, Any]) -> list[Backtest]:
    """The held-out cells as they are predicted, and what they came to as far as it is known."""
    grid = np.array([cell.flops for cell in study.cells if not cell.held_out])
    targets, tests = targets_of(study), []
    for target in forecast["held_out"]:
        cells, flops = targets.get(target["name"], []), target["flops"]
        losses = [result["loss"] for cell in cells if (result := study.result(cell))]
        measured = statistics.mean(losses) if len(losses) == target["seeds"] else None
        name, loss = f"held out {target['name']}", Estimated(**target["loss"])
        at = lever(flops, grid)
        tests.append(Backtest(name, target["seeds"], flops, loss, losses, measured, at))
    return tests


def known_backtests(study: StudyDirectory) -> list[Backtest]:
    """The same of the forecast that was written; none without one, or if results have changed
    since."""
    forecast = _read(study)
    if forecast is None or not _of_these_results(study, forecast):
        return []
    return backtests_of(study, forecast)


def compared(study: StudyDirectory, forecast: dict[str, Any]) -> dict[str, Any]:
    """The forecast with the losses of held-out cells that are trained."""
    tests = backtests_of(study, forecast)
    facts = {"failed_backtests": [], **forecast}
    facts["failed_backtests"] = facts["failed_backtests"] + [
        test.warning for test in tests if test.failed
    ]
    facts["held_out"] = [
        target | {"measured": test.losses}
        for target, test in zip(forecast["held_out"], tests, strict=True)
    ]
    return facts


def lines_of(study: StudyDirectory, forecast: dict[str, Any]) -> Iterator[str]:
    """The forecast, and what came of it as far as it is known, for people; of WIDTH."""
    tests = backtests_of(study, forecast)
    failures = compared(study, forecast)["failed_backtests"]
    yield from (line for warning in failures for line in textwrap.wrap(warning, WIDTH))
    if any(test.failed for test in tests):
        remedy = f"A forecast is not changed: `meshloom ladder fit {study.path}` has wider ones."
        yield from textwrap.wrap(remedy, WIDTH, break_on_hyphens=False, break_long_words=False)
    yield from [""] if failures else []
    yield (
        f"forecast of {forecast['runs']} runs, written {forecast['written']}, by "
        f"{forecast['approach']}"
    )
    yield f"inputs {forecast['inputs'][:16]}; intervals hold 95 of 100 times"
    for target, test in zip(forecast["held_out"], tests, strict=True):
        yield from (
            "",
            f"held out: {target['name']}, {target['parameters']:,} parameters, "
            f"{target['tokens']:,} tokens, {target['flops']:.3g} FLOPs",
            f"  predicted {test.predicted.value:.4f}, from {test.predicted.ends()} "
            f"(mean of {test.runs})",
            f"  {_measured(test)}",
        )
    for best in forecast["at"]:
        yield from ("", f"at {best['flops']:.4g} FLOPs:")
        if failures and best.get("extrapolates"):
            yield f"  {EXTRAPOLATION}"
        reason = {"reason": f"none, because {best.get('reason')}"}
        yield from optimum_lines(reason if "reason" in best else best)
        if model := best.get("model"):
            yield (
                f"  nearest model: width {model['width']}, {model['layers']} layers, "
                f"{model['parameters']:,} parameters"
            )


def _measured(test: Backtest) -> str:
    if test.measured is None:
        return f"measured: {len(test.losses)} of {test.runs} are trained"
    each = ", ".join(f"{loss:.4f}" for loss in test.losses)
    apart = f"predicted {test.off:+.2%} off, {test.where} the interval"
    return f"measured {test.measured:.4f} ({each}): {apart}"
