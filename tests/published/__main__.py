"""The roofline against published runs: `python -m tests.published docs/plan.md` fits its
efficiencies on every other run and writes predicted against published into the page.
"""

import csv
import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from launch.plan.efficiency import MATMUL, SHARED, Efficiency, Shared, efficiency
from launch.plan.published import TABLE, Aspect, Point, errors_of, points, ranges_of, within
from model.flops import flops_per_token, parameter_count
from tests.published.case import EXTRA, FITTED, RUNS, Case, case_of, chips_of
from tests.published.run import Run
from train.chips import CHIPS

NAMES: dict[Aspect, str] = {"parameters": "size", "length": "rows", "chips": "chips"}
BEGIN, END = "<!-- published: begin -->\n", "<!-- published: end -->\n"


def fit(runs: Sequence[Run]) -> tuple[dict[str, float], dict[str, Shared]]:
    """Efficiencies of chips and platforms that make the errors of those runs small, three digits.

    The logarithms' squares are added, those of far runs softened from 5 % on.
    """
    chips, platforms = sorted({run.chip for run in runs}), sorted(SHARED)
    cases = [case_of(run) for run in runs]

    def shares(values: np.ndarray, case: Case) -> Efficiency:
        first = len(chips) + len(Shared._fields) * platforms.index(case.chip.platform)
        matmul = values[chips.index(case.chip.name)]
        return Efficiency(matmul, *values[first : first + len(Shared._fields)])

    def errors(values: np.ndarray) -> list[float]:
        return [math.log1p(case.error(shares(values, case))) for case in cases]

    count = len(chips) + len(Shared._fields) * len(platforms)
    fitted = least_squares(
        errors, np.full(count, 0.6), bounds=(0.01, 1.0), loss="soft_l1", f_scale=0.05
    ).x
    numbers = [round(float(number), 3) for number in fitted]
    rest = iter(numbers[len(chips) :])
    shared = {name: Shared(*(next(rest) for _ in Shared._fields)) for name in platforms}
    return dict(zip(chips, numbers, strict=False)), shared


def table() -> str:
    """Predicted against published, with the errors' medians, as Markdown."""
    lines = [
        "| run | mesh | published | predicted | error | used to |",
        "|---|---|---|---|---|---|",
    ]
    errors: dict[str, list[float]] = {}
    for run in RUNS:
        case = case_of(run)
        shares = efficiency(case.chip)
        error, role = case.error(shares), "fit" if run in FITTED else "judge"
        if role == "judge":
            for group in ("all", case.chip.platform.upper()):
                errors.setdefault(group, []).append(abs(error))
        mesh = " x ".join(f"{axis} {size}" for axis, size in run.sizes.items() if size > 1)
        lines.append(
            f"| {run.name} | {mesh} | {_shown(run, case.seconds)} "
            f"| {_shown(run, case.predicted(shares))} | {error:+.1%} | {role} |"
        )
    lines += ["", "| judged runs | number | median error | largest |", "|---|---|---|---|"]
    lines += [
        f"| {group} | {len(sizes)} | {statistics.median(sizes):.1%} | {max(sizes):.1%} |"
        for group, sizes in errors.items()
    ]
    sources = {run.source: None for run in RUNS}
    lines += ["", "Sources: " + "; ".join(sources) + "."]
    return "\n".join([*lines, "", *extra_classes(), "", *extra_errors()]) + "\n"


def extra_classes() -> list[str]:
    """Errors of the extra runs by what is outside the fitted ranges of their chip."""
    classes: dict[tuple[str, str], list[Point]] = {}
    for point in points():
        if point.role == "extra":
            spans = ranges_of([p for p in points() if p.chip == point.chip and p.role != "extra"])
            outside = [
                f"{name} {'below' if getattr(point, aspect) < spans[aspect][0] else 'above'}"
                for aspect, name in NAMES.items()
                if not within(aspect, getattr(point, aspect), spans[aspect])
            ]
            classes.setdefault((point.chip, ", ".join(outside) or "nothing"), []).append(point)
    lines = [
        "| extra runs, on | outside its ranges | number | median error | from | to |",
        "|---|---|---|---|---|---|",
    ]
    for (chip, outside), runs in sorted(classes.items()):
        errors = errors_of(runs)
        lines.append(
            f"| {chip} | {outside} | {errors.runs} | {errors.median:.1%} "
            f"| {errors.lowest:+.1%} | {errors.highest:+.1%} |"
        )
    return lines


def extra_errors() -> list[str]:
    """The error of each extra run, by model, GPUs and tokens of a row."""
    lengths = sorted({run.length for run in EXTRA})
    errors: dict[str, dict[int, list[str]]] = {}
    for run in EXTRA:
        case, title = case_of(run), run.name.split(", ")
        error = f"{case.error(efficiency(case.chip)):+.1%}"
        errors.setdefault(f"{title[0]}, {title[1]}", {}).setdefault(run.length, []).append(error)
    lines = [
        f"| rows of | {' | '.join(f'{length:,}' for length in lengths)} |",
        "|---" * (1 + len(lengths)) + "|",
    ]
    for title, row in errors.items():
        cells = " | ".join(", ".join(row.get(length, [])) for length in lengths)
        lines.append(f"| {title} | {cells} |")
    return lines


def _shown(run: Run, seconds: float) -> str:
    """Seconds, and MFU as the plan counts it."""
    flops = run.batch_size * run.length * flops_per_token(run.model, run.length)
    return f"{seconds:.3g} s, {flops / seconds / chips_of(run) / CHIPS[run.chip].matmul_flops:.1%}"


def rewritten(page: str) -> str:
    """The page with a new table between its marks."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1]


def drift(matmul: dict[str, float], shared: dict[str, Shared]) -> float:
    """The largest difference between efficiencies and the committed ones."""
    changes = [matmul[chip] - share for chip, share in MATMUL.items()]
    for platform, shares in SHARED.items():
        changes += [a - b for a, b in zip(shared[platform], shares, strict=True)]
    return max(map(abs, changes))


def derived() -> list[Point]:
    """The runs of launch/plan/published.csv, from what was published of them."""
    return [
        Point(
            chip=run.chip,
            parameters=parameter_count(run.model),
            length=run.length,
            chips=chips_of(run),
            error=case_of(run).error(efficiency(case_of(run).chip)),
            role="extra" if run in EXTRA else "fitted" if run in FITTED else "judged",
        )
        for run in (*RUNS, *EXTRA)
    ]


def write_points() -> None:
    """Write launch/plan/published.csv."""
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Point._fields)
        writer.writerows(derived())


if __name__ == "__main__":
    fitted = fit(FITTED)
    # Another machine may round the last digit otherwise.
    if drift(*fitted) > 0.002:
        sys.exit(f"launch/plan/efficiency.py must be changed to\n{fitted[0]}\n{fitted[1]}")
    write_points()
    points.cache_clear()
    page = Path(sys.argv[1])
    page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
