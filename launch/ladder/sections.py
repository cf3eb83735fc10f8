"""What a report says in words and tables; every figure with its number of runs and its interval."""

from collections import Counter
from collections.abc import Callable, Sequence
from xml.etree.ElementTree import Element

from scipy.stats import chi2, t

from launch.ladder.backtest import Backtest, backtests
from launch.ladder.digits import constant, loss, power, runs, share, short, two, within
from launch.ladder.fit import Fit, optimum
from launch.ladder.interval import LEVEL, Estimate
from launch.ladder.notes import EXTRAPOLATION, epochs_unknown, failed, warnings
from launch.ladder.page import Node, element, table
from launch.ladder.show import constants_of
from launch.ladder.subject import Subject
from launch.ladder.surface import Surface

TAIL = (1 + LEVEL) / 2
LEAST_BEND = 5e-4
"""Exponent of the size, beyond one, from which on a law of FLOPs tells it."""
SYMBOLS = {
    "irreducible": "E, loss of endless parameters and tokens",
    "of_params": "A, of parameters",
    "of_tokens": "B, of tokens",
    "alpha": "alpha, exponent of parameters",
    "beta": "beta, exponent of tokens",
    "log_factor": "logarithm of the factor of the best size",
    "exponent": "exponent of the best size over FLOPs",
}


def opening(subject: Subject) -> list[Element]:
    """The title, the figures that matter most, and what speaks against the rest."""
    what = f"A table of {runs(len(subject.runs))}"
    if subject.known:
        what = ", ".join(
            f"{Counter(row.state for row in rows)['done']} of {len(rows)} {kind}"
            for kind, held_out in (("cells of the grid done", False), ("held out", True))
            if (rows := [row for row in subject.known if row.cell.held_out == held_out])
        )
    title = element("h1", f"Scaling study: {subject.name}")
    made = [title, element("p", what, class_="soft"), *_failed(subject), _cards(subject)]
    if subject.why:
        head = element("h2", "No law is told from these runs")
        why = element("ul", *(element("li", reason) for reason in subject.why))
        made.append(element("section", head, why, *_lacking(subject), class_="refused"))
    if subject.stale:
        head = element("h2", "The forecast is not compared")
        made.append(element("section", head, element("p", subject.stale), class_="refused"))
    return made


def _failed(subject: Subject) -> list[Element]:
    """Backtests that failed, before all else, and what else speaks against the law."""
    if not (found := subject.found):
        return []
    made = []
    for title, told in (
        ("A backtest failed", failed(found.missed)),
        ("What bends the law", warnings(found.runs)),
    ):
        listed = element("ul", *(element("li", text) for text in told))
        made += [element("section", element("h2", title), listed, class_="refused")] if told else []
    return made


def _cards(subject: Subject) -> Element:
    cards = []
    if subject.runs:
        sizes, computes = zip(*((run.params, run.flops) for run in subject.runs), strict=True)
        cards.append(
            _card(
                runs(len(subject.runs)),
                f"N of {short(min(sizes))} to {short(max(sizes))}, "
                f"{power(min(computes))} to {power(max(computes))} FLOPs",
            )
        )
    for test in backtests(subject.found, subject.foretold):
        if test.mean is not None:
            came = f"{loss(test.mean)}, mean of {runs(test.runs)}, {_where(test)} the interval"
            told = f"foretold {loss(test.loss.value)} ({within(test.loss)}), measured {came}"
            cards.append(_card(share(test.off), f"{test.name}: {told}"))
    if found := subject.found:
        noise = noise_of(found)
        about = f"spread of a run about the law, {within(noise, two)}; "
        about += runs(len(subject.runs))
        cards.append(_card(f"{two(noise.value)} nats", about))
    return element("div", *cards, class_="cards")


def _card(figure: str, text: str) -> Element:
    return element("div", element("b", figure), element("span", text), class_="card")


def _where(test: Backtest) -> str:
    return "inside" if test.inside else "OUTSIDE"


def _lacking(subject: Subject) -> list[Element]:
    """Cells of the grid that are not done."""
    rows = [row for row in subject.known if not row.cell.held_out and row.result is None]
    if not rows:
        return []
    told = (f"{row.cell.name}: {row.state}" + (f", {row.told}" if row.told else "") for row in rows)
    return [element("h3", "Cells that lack"), element("ul", *(element("li", of) for of in told))]


def noise_of(found: Fit) -> Estimate:
    """Standard deviation of a run about the law, with the interval of normal noise."""
    free = len(found.runs) - len(Surface._fields)
    low, high = (found.noise * (free / float(chi2.ppf(p, free))) ** 0.5 for p in (TAIL, 1 - TAIL))
    return Estimate(found.noise, low, high)


def law(subject: Subject) -> list[Element]:
    """The constants of every approach, or why it has none."""
    found = subject.found
    if not found:
        return []
    surface = found.surface.law
    assert isinstance(surface, Surface)
    formula = element(
        "p",
        f"loss = {constant(surface.irreducible)} + {constant(surface.of_params)} / N",
        element("sup", constant(surface.alpha)),
        f" + {constant(surface.of_tokens)} / D",
        element("sup", constant(surface.beta)),
        "; N: size in parameters, D: tokens, loss in nats a token.",
    )
    rows: list[list[Node]] = []
    count = str(len(found.runs))
    for approach in found.approaches:
        if approach.law is None:
            rows.append([approach.name, f"none, because {approach.reason}", "", "", count])
        for place, (name, told) in enumerate(constants_of(approach).items()):
            of = "" if place else approach.name
            lies = within(told, constant)
            if why := approach.undetermined.get(name):
                lies = f"not determined: {why}"
            rows.append([of, SYMBOLS[name], constant(told.value), lies, count])
    constants = table(
        ["approach", "constant", "value", "95 % interval", "runs"], rows, frozenset({0, 1})
    )
    cost = found.cost
    grows = f"^{1 + cost.exponent:.3f}" if abs(cost.exponent) > LEAST_BEND else ""
    note = f"FLOPs = {cost.factor:.4g} N{grows} D in these runs."
    if subject.known:
        note += (
            " N is a cell's training FLOPs a token over six, so that embeddings and attention are"
            " counted; the parameters themselves stand in the table of cells."
        )
    if epochs_unknown(found.runs):
        note += " It takes all tokens as fresh, read once."
    return [_section("The law", formula, constants, _note(note))]


def best(subject: Subject, computes: Sequence[float]) -> list[Element]:
    """The best size, tokens and loss at computes, by every approach."""
    found = subject.found
    if not found:
        return []
    rows: list[list[Node]] = []
    reasons: list[str] = []
    for flops in computes:
        for approach in found.approaches:
            told = optimum(found, approach, flops)
            if not isinstance(told, str):
                one_run = _both(told.loss) if told.loss else ""
                sizes = [_both(told.params, short), _both(told.tokens, short), one_run]
                rows.append([power(flops), approach.name, *sizes])
            elif approach.law is not None:
                reasons.append(f"{approach.name} at {power(flops)} FLOPs tells none: {told}.")
    head = ["FLOPs", "approach", "N", "tokens", "loss of one run"]
    made = table(head, rows, frozenset({1}))
    beyond = any(flops > max(run.flops for run in found.runs) for flops in computes)
    marked = [_note(EXTRAPOLATION)] if found.missed and beyond else []
    note = _note(f"From {runs(len(found.runs))}; in parentheses 95 % intervals.")
    why = [_note(reason) for reason in reasons]
    return [_section("The best size for a compute", *marked, made, note, *why, *_models(subject))]


def _models(subject: Subject) -> list[Element]:
    """The family's models nearest to the best sizes that were asked of the forecast."""
    told = [at for at in (subject.forecast or {}).get("at", []) if "model" in at]
    return [
        element(
            "p",
            f"At {power(at['flops'])} FLOPs the family's nearest model has width "
            f"{at['model']['width']}, {at['model']['layers']} layers and "
            f"{at['model']['parameters']:,} parameters.",
        )
        for at in told
    ]


def _both(estimate: Estimate, digits: Callable[[float], str] = loss) -> str:
    return f"{digits(estimate.value)} ({within(estimate, digits)})"


def foretold(subject: Subject, drawn: Sequence[Element]) -> list[Element]:
    """What was told before it was known, and what came; under its picture, if there is one."""
    rows: list[list[Node]] = []
    for test in backtests(subject.found, subject.foretold):
        came = ["not yet", "", "", ""]
        if test.mean is not None:
            came = [loss(test.mean), _of_seeds(test), share(test.off), _where(test)]
        elif test.losses:
            came[0] = f"{len(test.losses)} of {test.runs} done"
        told = [loss(test.loss.value), within(test.loss)]
        rows.append([test.name, power(test.flops), str(test.runs), *told, *came])
    head = ["what", "FLOPs", "runs", "foretold", "95 % interval", "measured"]
    head += ["95 % interval of it", "foretold off by", "lies"]
    made = [*drawn, table(head, rows, frozenset({0, 8}))] if rows else []
    if subject.found and not subject.found.left_out:
        made.append(_note("Without the largest compute too few cells are left for a law."))
    if subject.forecast:
        at = subject.forecast
        note = f"Written {at['made']} from {at['runs']} runs by {at['approach']}, before held-out "
        made.append(_note(f"{note}cells were trained; inputs {at['inputs'][:16]}."))
    elif subject.study and any(row.cell.held_out for row in subject.known) and not subject.stale:
        made.append(_note("No forecast of the held-out cells has been written."))
    return [_section("Foretold and measured", *made)] if made else []


def _of_seeds(test: Backtest) -> str:
    """The interval of the mean of runs that differ by their seed alone."""
    if len(test.losses) < 2:
        return ""
    count = len(test.losses)
    reach = float(t.ppf(TAIL, count - 1)) * test.deviation / count**0.5
    assert test.mean is not None
    return within(Estimate(test.mean, test.mean - reach, test.mean + reach))


def _section(title: str, *children: Node) -> Element:
    return element("section", element("h2", title), *children)


def _note(text: str) -> Element:
    return element("p", text, class_="note")
