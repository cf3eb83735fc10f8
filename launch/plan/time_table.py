"""A plan's step time as a table of at most 80 columns."""

from launch.plan.efficiency import efficiency, fitted_on
from launch.plan.roofline import Communication, Course, StepTime
from launch.plan.topology import Topology

SOURCES = {"compiler": "the compiler's program", "arithmetic": "arithmetic"}


def time_lines(time: StepTime, course: Course, topology: Topology, *, host: int = 0) -> list[str]:
    """Seconds of a step by what they are spent on, then the whole run; `host` is how many bytes of
    a device lie in the host's memory."""
    shares, like = efficiency(topology.chip), fitted_on(topology.chip)
    unit, factor = ("seconds", 1.0) if time.seconds >= 1 else ("ms", 1e3)

    def line(name: str, seconds: float, note: str = "") -> str:
        return f"{name:<36}{seconds * factor:>10.3f}   {note}".rstrip()

    head = f"{'time of a step':<36}{unit:>10}"
    lines = [f"time: {source_of(time)}", head, "-" * len(head)]
    lines.append(line("products", time.compute, f"{shares.matmul:.0%} of peak, fitted on {like}"))
    lines.append(line("memory traffic", time.memory, "beside the products"))
    lines += [line(_over(part), part.seconds, f"by {part.slower}") for part in time.communication]
    if time.hidden:
        lines.append(line("hidden behind the products", -time.hidden))
    lines += ["-" * len(head), line("step", time.seconds, f"MFU {course.utilization:.1%}"), ""]
    if time.products != time.origin:
        lines.append("products are arithmetic's, as the program's kernels do not tell theirs")
    if host:
        lines.append("what goes to the host's memory and back is not counted in the time")
    cost = "" if course.cost is None else f", cost {course.cost:,.0f}"
    return [
        *lines,
        f"{course.tokens_per_second:,.0f} tokens/s; {course.tokens:,.0f} tokens take "
        f"{_lasting(course.days)},",
        f"{_few(course.chip_hours)} chip-hours{cost}",
    ]


def source_of(time: StepTime) -> str:
    """Where a step's time, and all that follows from it, comes from."""
    return f"arithmetic roofline over {SOURCES[time.origin]}"


def _lasting(days: float) -> str:
    for unit, many in (("days", 1), ("hours", 24), ("minutes", 1440)):
        if days * many >= 1:
            return f"{days * many:,.1f} {unit}"
    return f"{days * 86_400:,.1f} seconds"


def _few(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def _over(part: Communication) -> str:
    return f"collectives over {' x '.join(part.axes) or 'other groups'}"
