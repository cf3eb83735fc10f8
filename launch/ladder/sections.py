"""What a report says in words and tables; every figure with its number of runs and its interval."""

import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import yaml
from scipy.stats import chi2

from data import system
from launch.config import to_dict
from launch.ladder.backtest import EXTRAPOLATION, Backtest
from launch.ladder.checks import epochs_unknown, warnings
from launch.ladder.directory import Known, StudyDirectory
from launch.ladder.fit import ScalingFit
from launch.ladder.interval import TAIL, Estimated, four, students
from launch.ladder.results import digest_of, run_of
from launch.ladder.runs import ScalingRun, counted
from launch.ladder.runs import table as columns_of
from launch.ladder.subject import Subject
from launch.ladder.surface import Surface
from launch.page import Markup, element, listed, note, section, table
from launch.run.directory import RunDirectory
from launch.run.environment import environment
from train.report.numbers import constant, power, short

MIN_BEND = 5e-4
"""Exponent of the size, beyond one, from which on a law of FLOPs shows it."""
CONSTANTS = {
    "irreducible": "E, loss of endless parameters and tokens",
    "of_params": "A, of parameters",
    "of_tokens": "B, of tokens",
    "alpha": "alpha, exponent of parameters",
    "beta": "beta, exponent of tokens",
    "log_factor": "logarithm of the factor of the best size",
    "exponent": "exponent of the best size over FLOPs",
}


def opening(subject: Subject) -> Iterator[Markup]:
    """The title, the figures that matter most, and what speaks against the rest."""
    yield element("h1", f"Scaling study: {subject.name}")
    what = f"A table of {counted(len(subject.runs))}"
    if subject.known:
        what = ", ".join(
            f"{Counter(row.state for row in rows)['done']} of {len(rows)} {kind}"
            for kind, held_out in (("cells of the grid done", False), ("held out", True))
            if (rows := [row for row in subject.known if row.cell.held_out == held_out])
        )
    yield element("p", what, class_="soft")
    if subject.fit:
        if misses := [miss.warning for miss in subject.fit.missed]:
            yield section("A backtest failed", listed(misses), class_="refused")
        if bends := warnings(subject.runs):
            yield section("What bends the law", listed(bends), class_="refused")
    yield element("div", *_cards(subject), class_="cards")
    if subject.why:
        lacking = [
            f"{row.cell.name}: {row.state}" + (f", {row.why}" if row.why else "")
            for row in subject.known
            if not row.cell.held_out and row.result is None
        ]
        cells = [element("h3", "Cells that lack"), listed(lacking)] if lacking else []
        title = "No law follows from these runs"
        yield section(title, listed(subject.why), *cells, class_="refused")
    if subject.stale:
        stale = element("p", subject.stale)
        yield section("The forecast is not compared", stale, class_="refused")


def _cards(subject: Subject) -> Iterator[Markup]:
    count = counted(len(subject.runs))
    if subject.runs:
        sizes, computes = zip(*((run.params, run.flops) for run in subject.runs), strict=True)
        yield _card(
            count,
            f"N of {short(min(sizes))} to {short(max(sizes))}, "
            f"{power(min(computes))} to {power(max(computes))} FLOPs",
        )
    for test in subject.backtests:
        if test.measured is not None:
            yield _card(
                f"{test.off:+.2%}",
                f"{test.name}: predicted {four(test.predicted.value)} ({test.predicted.ends()}), "
                f"measured {four(test.measured)}, mean of {counted(test.runs)}, {test.where} the "
                "interval",
            )
    if law_fit := subject.fit:
        noise = noise_of(law_fit)
        about = f"spread of a run about the law, {noise.ends(_two)}; {count}"
        yield _card(f"{_two(noise.value)} nats", about)


def _card(figure: str, text: str) -> Markup:
    return element("div", element("b", figure), element("span", text), class_="card")


def _two(value: float) -> str:
    return f"{value:#.2g}".rstrip(".")


def noise_of(law_fit: ScalingFit) -> Estimated:
    """Standard deviation of a run about the law, with the interval of normal noise."""
    free = len(law_fit.runs) - len(Surface._fields)
    ends = (law_fit.noise * (free / float(chi2.ppf(p, free))) ** 0.5 for p in (TAIL, 1 - TAIL))
    return Estimated(law_fit.noise, *ends)


def predicted(subject: Subject, drawn: Sequence[Markup]) -> Iterator[Markup]:
    """What was predicted before it was known, and what came; under its picture, if there is one."""
    parts, tests = [*drawn], subject.backtests
    if tests:
        head = ["what", "FLOPs", "runs", "predicted", "95 % interval", "measured"]
        head += ["95 % interval of it", "predicted off by", "lies"]
        parts.append(table(head, map(_compared, tests), frozenset({0, 8})))
    if subject.fit and not subject.fit.left_out:
        parts.append(note("Without the largest compute too few cells are left for a law."))
    if at := subject.forecast:
        parts.append(
            note(
                f"Written {at['written']} from {at['runs']} runs by {at['approach']}, before "
                f"held-out cells were trained; inputs {at['inputs'][:16]}."
            )
        )
    elif any(row.cell.held_out for row in subject.known) and not subject.stale:
        parts.append(note("No forecast of the held-out cells has been written."))
    if parts:
        yield section("Predicted and measured", *parts)


def _compared(test: Backtest) -> list[str]:
    came = ["not yet", "", "", ""]
    if test.measured is not None:
        came = [four(test.measured), _of_seeds(test), f"{test.off:+.2%}", test.where]
    elif test.losses:
        came[0] = f"{len(test.losses)} of {test.runs} done"
    law = [four(test.predicted.value), test.predicted.ends()]
    return [test.name, power(test.flops), str(test.runs), *law, *came]


def _of_seeds(test: Backtest) -> str:
    """The interval of the mean of runs that differ by their seed alone."""
    if (count := len(test.losses)) < 2:
        return ""
    mean = statistics.mean(test.losses)
    half = students(count - 1) * statistics.stdev(test.losses) / count**0.5
    return Estimated(mean, mean - half, mean + half).ends()


def best(subject: Subject) -> Iterator[Markup]:
    """The best size, tokens and loss at computes, by every approach."""
    if not (law_fit := subject.fit):
        return
    rows, below = [], [note(f"From {counted(len(law_fit.runs))}; in parentheses 95 % intervals.")]
    for place, flops in enumerate(map(power, subject.computes)):
        for approach in subject.approaches:
            at = approach["optimum"][place] if "optimum" in approach else {}
            if "params" in at:
                sizes = (_both(at[key], short) for key in ("params", "tokens"))
                loss = _both(at["loss"], four) if at["loss"] else ""
                rows.append([flops, approach["name"], *sizes, loss])
            elif at:
                why = f"{approach['name']} at {flops} FLOPs has none: {at['reason']}."
                below.append(note(why))
    for at in (subject.forecast or {}).get("at", []):
        if model := at.get("model"):
            text = (
                f"At {power(at['flops'])} FLOPs the family's nearest model has width "
                f"{model['width']}, {model['layers']} layers and {model['parameters']:,} "
                "parameters."
            )
            below.append(element("p", text))
    beyond = max(subject.computes) > max(run.flops for run in law_fit.runs)
    marked = [note(EXTRAPOLATION)] if law_fit.missed and beyond else []
    head = ["FLOPs", "approach", "N", "tokens", "loss of one run"]
    yield section("The best size for a compute", *marked, table(head, rows, frozenset({1})), *below)


def _both(estimated: dict[str, float], digits: Callable[[float], str]) -> str:
    estimate = Estimated(**estimated)
    return f"{digits(estimate.value)} ({estimate.ends(digits)})"


def law(subject: Subject) -> Iterator[Markup]:
    """The constants of every approach, or why it has none."""
    if not (law_fit := subject.fit):
        return
    surface = law_fit.surface.law
    assert isinstance(surface, Surface)
    formula = element(
        "p",
        f"loss = {constant(surface.irreducible)} + {constant(surface.of_params)} / N",
        element("sup", constant(surface.alpha)),
        f" + {constant(surface.of_tokens)} / D",
        element("sup", constant(surface.beta)),
        "; N: size in parameters, D: tokens, loss in nats a token.",
    )
    rows, count = [], str(len(law_fit.runs))
    for facts in subject.approaches:
        name = facts["name"]
        if "reason" in facts:
            rows.append([name, f"none, because {facts['reason']}", "", "", count])
        for key, of in facts.get("constants", {}).items():
            if of["interval"]:
                lies = " to ".join(map(constant, of["interval"]))
            else:
                lies = f"not determined: {of['undetermined']}"
            rows.append([name, CONSTANTS[key], constant(of["value"]), lies, count])
            name = ""
    cost = law_fit.cost
    grows = f"^{1 + cost.exponent:.3f}" if abs(cost.exponent) > MIN_BEND else ""
    text = f"FLOPs = {cost.factor:.4g} N{grows} D in these runs."
    if subject.known:
        text += (
            " N is a cell's training FLOPs a token over six, so that embeddings and attention are"
            " counted; the parameters themselves stand in the table of cells."
        )
    if epochs_unknown(law_fit.runs):
        text += " It takes all tokens as fresh, read once."
    head = ["approach", "constant", "value", "95 % interval", "runs"]
    yield section("The law", formula, table(head, rows, frozenset({0, 1})), note(text))


def runs(subject: Subject) -> Iterator[Markup]:
    """Every cell of a study, or every run of a table."""
    text = "One run each; without a law their losses have no interval."
    if law_fit := subject.fit:
        half = students(law_fit.surface.free) * law_fit.noise
        text = (
            f"One run each. Another seed lies within {half:.2g} nats of the law 95 of 100 times; "
            "the last column has the standard deviations by which a run lies off it."
        )
    if subject.known:
        title, words = "Cells", frozenset({0, 1, 9})
        head = ["cell", "state", "parameters", "without embeddings", "tokens", "FLOPs", "steps"]
        head += ["loss", "off the law", ""]
        rows = [_cell(row, law_fit) for row in subject.known]
    else:
        title, words = "Runs", frozenset({0})
        head = ["run", "N", "tokens", "FLOPs", "loss", "off the law"]
        rows = [_run(run, law_fit) for run in subject.runs]
    yield section(title, table(head, rows, words), note(text), class_="long")


def _cell(row: Known, law_fit: ScalingFit | None) -> list[str]:
    cell = row.cell
    ended = _run(run_of(cell, row.result), law_fit)[-2:] if row.result else ["", ""]
    return [
        element("code", cell.name),
        f"{row.state}, held out" if cell.held_out else row.state,
        f"{cell.parameters:,}",
        f"{cell.parameters_without_embeddings:,}",
        f"{cell.tokens:,}",
        power(cell.flops),
        f"{cell.config.train.steps:,}",
        *ended,
        row.why,
    ]


def _run(run: ScalingRun, law_fit: ScalingFit | None) -> list[str]:
    off = f"{law_fit.residual(columns_of([run]))[0]:+.1f}" if law_fit else ""
    sizes = [f"{run.params:,.0f}", f"{run.tokens:,.0f}", power(run.flops)]
    return [run.name, *sizes, four(run.loss), off]


def origin(subject: Subject) -> Iterator[Markup]:
    """Versions, digests and settings."""
    lines, settings = [f"This page: {_versions(environment())}"], []
    if study := subject.study:
        lines += [f"Cells: {versions}" for versions in sorted(set(_environments(study)))]
        digests = {row.result["data_digest"] for row in subject.known if row.result}
        lines += [f"Data digest {digest}" for digest in sorted(digests)]
        grid = [cell.name for cell in study.cells if not cell.held_out]
        lines.append(f"Digest of the results that the law is fitted to: {digest_of(study, grid)}")
        text = yaml.safe_dump(to_dict(study.study), sort_keys=False)
        summary = element("summary", "Settings of the study")
        settings.append(element("details", summary, element("pre", text)))
    yield section("Made with", listed(lines, "code"), *settings, class_="long")


def _environments(study: StudyDirectory) -> Iterator[str]:
    """Versions that cells were trained with; none of a file that is not there or is damaged, as no
    result needs it."""
    for path in (run for cell in study.cells for run in study.runs_of(cell)):
        try:
            yield from map(_versions, system.read_json(RunDirectory(path).environment))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue


def _versions(start: dict[str, Any]) -> str:
    versions = {"python": start["python"], **start["versions"]}
    return ", ".join(f"{name} {version}" for name, version in versions.items())
