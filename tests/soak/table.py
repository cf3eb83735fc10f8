"""The tries of the campaign as the table of docs/reliability.md."""

from statistics import median

from tests.soak.faults import FAULTS
from tests.soak.run import Outcome

MEASURED = {
    "lost": "steps lost",
    "down_seconds": "s until down",
    "back_seconds": "s until the next step",
    "seconds": "s until exit",
    "goodput": "% goodput",
    "kills": "kills",
}


def table(tries: list[Outcome]) -> str:
    """Markdown: fault, tries, how many passed, what must hold, medians (and maxima) measured."""
    rows = ["| fault | tries | passed | must hold | median (most) |", "|---|---|---|---|---|"]
    for name, fault in FAULTS.items():
        of_fault = [line for line in tries if line["fault"] == name]
        passed = sum(not line["wrong"] for line in of_fault)
        figures = []
        for field, unit in MEASURED.items():
            values = [float(line[field]) for line in of_fault if field in line]
            if values:
                figures.append(f"{median(values):g} ({max(values):g}) {unit}")
        cells = (name, len(of_fault), passed, fault.holds, ", ".join(figures))
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)
