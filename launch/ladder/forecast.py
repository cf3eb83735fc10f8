"""What is foretold before it is trained: an artifact with the hash of its inputs, and afterwards
how it compares."""

import bisect
import json
import math
import statistics
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from launch.ladder.cells import Cell
from launch.ladder.directory import StudyDirectory, read_json, write_json
from launch.ladder.fit import Fit, Missed, fit, foretell, lever, missed, optimum
from launch.ladder.interval import Estimate
from launch.ladder.notes import EXTRAPOLATION, failed
from launch.ladder.results import digest_of, loss_of, run_of, runs_of
from launch.ladder.study import Study
from model.flops import embedding_parameters, flops_per_token, parameter_count


class Target(NamedTuple):
    """Held-out cells that differ in their seed alone."""

    cells: list[Cell]

    @property
    def name(self) -> str:
        cell = self.cells[0]
        return f"w{cell.width}-n{cell.config.train.steps}"


def targets_of(study: StudyDirectory) -> list[Target]:
    """The held-out cells, by what they are."""
    groups: dict[tuple[int, int], list[Cell]] = {}
    for cell in study.cells:
        if cell.held_out:
            groups.setdefault((cell.width, cell.config.train.steps), []).append(cell)
    return [Target(cells) for cells in groups.values()]


def forecast(study: StudyDirectory, flops: Sequence[float]) -> dict[str, Any]:
    """The forecast of a study: made and written, or read if there is one.

    ValueError if the runs tell nothing, if its inputs have changed since, or if what it would
    foretell is known already.
    """
    path = study.path / "forecast.json"
    if (made := read_json(path)) is not None:
        return _checked(study, path, made, flops)
    begun = [c for t in targets_of(study) for c in t.cells if study.ended(c) or study.runs_of(c)]
    if begun:
        raise UserError(
            "forecast.json must be written before held-out cells are trained, because afterwards "
            f"it is none, but {begun[0].name} was begun; try a study with other held-out cells"
        )
    found = fit(runs_of(study))
    if found.refused:
        raise UserError(
            f"dir={study.path} must hold runs that show where the best size lies, because nothing "
            "is foretold on a guess, but " + "; ".join(found.refused) + "; try more cells"
        )
    made = _made(study, found, flops)
    write_json(path, made)
    return made


def require_forecast(study: StudyDirectory) -> None:
    """ValueError unless the held-out cells are foretold, from the results that are there."""
    path = study.path / "forecast.json"
    if (made := read_json(path)) is None:
        raise UserError(
            "held_out=True must come after a forecast, because what is known cannot be foretold; "
            f"try `meshloom ladder forecast {study.path}` first"
        )
    _checked(study, path, made, ())


def _checked(
    study: StudyDirectory, path: Path, made: dict[str, Any], flops: Sequence[float]
) -> dict[str, Any]:
    """The forecast, if it is of the cells that are held out and of the results that are there; a
    grid may have grown since."""
    foretold = [name for told in made["held_out"] for name in told["cells"]]
    asked = [cell.name for target in targets_of(study) for cell in target.cells]
    if foretold != asked:
        raise UserError(
            f"held_out={', '.join(asked) or 'nothing'} must be what {path} foretells, because a "
            f"forecast is compared with what came of it, but that is {', '.join(foretold)}; try "
            "the rows of held_out that it was made with"
        )
    if made["inputs"] != digest_of(study, made["cells"]):
        raise UserError(
            f"forecast={path} must be of the results that are there, because it is compared with "
            "what came of them, but they have changed since it was written; try bringing the "
            "results of its cells back"
        )
    known = [at["flops"] for at in made["at"]]
    if unknown := [compute for compute in flops if compute not in known]:
        raise UserError(
            f"flops={unknown[0]:g} must be of the forecast that was written, because that is not "
            f"changed, but it tells of {', '.join(f'{c:g}' for c in known) or 'none'}; try "
            f"`meshloom ladder fit {study.path} --flops {unknown[0]:g}`"
        )
    return made


def _made(study: StudyDirectory, found: Fit, flops: Sequence[float]) -> dict[str, Any]:
    law = found.surface.law
    assert law is not None
    names = [run.name for run in found.runs]
    return {
        "inputs": digest_of(study, names),
        "cells": names,
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "runs": len(found.runs),
        "approach": found.surface.name,
        "law": law._asdict(),
        "undetermined": found.surface.undetermined,
        "failed_backtests": failed(found.missed),
        "noise": found.noise,
        "held_out": [_target(found, target) for target in targets_of(study)],
        "at": [_at(study.study, found, compute) for compute in flops],
    }


def _target(found: Fit, target: Target) -> dict[str, Any]:
    cell = target.cells[0]
    asked = run_of(cell, math.nan)
    loss = foretell(found, asked.params, asked.tokens, seeds=len(target.cells))
    return {
        "name": target.name,
        "width": cell.width,
        "parameters": cell.parameters,
        "tokens": cell.tokens,
        "flops": cell.flops,
        "seeds": len(target.cells),
        "cells": [cell.name for cell in target.cells],
        "loss": loss._asdict(),
    }


def _at(study: Study, found: Fit, flops: float) -> dict[str, Any]:
    told = optimum(found, found.surface, flops)
    if isinstance(told, str):
        return {"flops": flops, "reason": told}
    assert told.loss is not None
    return {
        "flops": flops,
        "extrapolates": told.extrapolates,
        "params": told.params._asdict(),
        "tokens": told.tokens._asdict(),
        "loss": told.loss._asdict(),
        "model": _nearest(study, told.params.value),
    }


def _nearest(study: Study, params: float) -> dict[str, int]:
    """The model of the family whose FLOPs a token are nearest."""
    length, step = study.base.data.sequence_length, study.family.head_dim

    def apart(width: int) -> float:
        model = study.base.model.of_width(width, study.family)
        return math.log(flops_per_token(model, length) / 6 / params)

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


def measured(study: StudyDirectory, target: Target) -> list[float]:
    """Losses of a target's cells that are done."""
    return [loss_of(study, cell) for cell in target.cells if study.result(cell)]


def tested(study: StudyDirectory) -> list[Missed]:
    """Held-out cells that are all trained, and came to lie outside of what was foretold of them;
    none if no forecast was written, or if results have changed since."""
    made = read_json(study.path / "forecast.json")
    if made is None or made["inputs"] != digest_of(study, made["cells"]):
        return []
    grid = np.array([cell.flops for cell in study.cells if not cell.held_out])
    targets = {target.name: target for target in targets_of(study)}
    misses = []
    for told in made["held_out"]:
        losses = measured(study, targets[told["name"]]) if told["name"] in targets else []
        if losses and len(losses) == told["seeds"]:
            name, at = f"held out {told['name']}", lever(told["flops"], grid)
            misses += missed(name, Estimate(**told["loss"]), statistics.mean(losses), at)
    return misses


def with_measured(study: StudyDirectory, made: dict[str, Any]) -> str:
    """The forecast as JSON, and the losses of held-out cells that are trained."""
    came = {target.name: measured(study, target) for target in targets_of(study)}
    held_out = [told | {"measured": came[told["name"]]} for told in made["held_out"]]
    failures = [*made.get("failed_backtests", []), *failed(tested(study))]
    told = {"failed_backtests": failures, **made, "held_out": held_out}
    return json.dumps(told | {"failed_backtests": failures}, indent=2)


def as_text(study: StudyDirectory, made: dict[str, Any]) -> str:
    """The forecast, and what came of it as far as it is known; 80 columns."""
    failures = [*made.get("failed_backtests", []), *(misses := failed(tested(study)))]
    lines = [line for told in failures for line in textwrap.wrap(told, 80)]
    if misses:
        remedy = f"A forecast is not changed: `meshloom ladder fit {study.path}` tells wider ones."
        lines += textwrap.wrap(remedy, 80, break_on_hyphens=False, break_long_words=False)
    lines += [
        *([""] if failures else []),
        f"forecast of {made['runs']} runs, written {made['made']}, by {made['approach']}",
        f"inputs {made['inputs'][:16]}; intervals hold 95 of 100 times",
    ]
    by_name = {target.name: target for target in targets_of(study)}
    for told in made["held_out"]:
        loss = Estimate(**told["loss"])
        lines += [
            "",
            f"held out: {told['name']}, {told['parameters']:,} parameters, "
            f"{told['tokens']:,} tokens, {told['flops']:.3g} FLOPs",
            f"  foretold {loss.value:.4f}, from {loss.low:.4f} to {loss.high:.4f} "
            f"(mean of {told['seeds']})",
            f"  {_compared(measured(study, by_name[told['name']]), loss, told['seeds'])}",
        ]
    for at in made["at"]:
        marked = [f"  {EXTRAPOLATION}"] if failures and at.get("extrapolates") else []
        lines += ["", f"at {at['flops']:.4g} FLOPs:", *marked, *_best(at)]
    return "\n".join(lines)


def _compared(losses: list[float], foretold: Estimate, seeds: int) -> str:
    if len(losses) < seeds:
        return f"measured: {len(losses)} of {seeds} are trained"
    mean = statistics.mean(losses)
    where = "inside" if foretold.low <= mean <= foretold.high else "OUTSIDE"
    each = ", ".join(f"{loss:.4f}" for loss in losses)
    apart = foretold.value / mean - 1
    return f"measured {mean:.4f} ({each}): foretold {apart:+.2%} off, {where} the interval"


def _best(at: dict[str, Any]) -> list[str]:
    if "reason" in at:
        because = textwrap.wrap(f"not told, because {at['reason']}", 76)
        return [f"  {line}" for line in because]
    lines = [
        f"  {name:<7}{at[name]['value']:<10.4g} {at[name]['low']:.4g} to {at[name]['high']:.4g}"
        for name in ("params", "tokens", "loss")
    ]
    model = at["model"]
    return [
        *lines,
        f"  nearest model: width {model['width']}, {model['layers']} layers, "
        f"{model['parameters']:,} parameters",
    ]
