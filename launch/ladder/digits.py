"""Numbers as people read them: 886K, 124M, 3.2e12, 2.178 [2.170, 2.183]."""

import math
from collections.abc import Callable

from launch.ladder.interval import Estimate

UNITS = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3))


def short(count: float) -> str:
    """Three digits and a unit: 886K, 124M, 1.24B."""
    for unit, size in UNITS:
        if float(f"{count:.3g}") >= size:
            return f"{float(f'{count:.3g}') / size:.3g}{unit}"
    return f"{count:.3g}"


def power(count: float, digits: int = 3) -> str:
    """As 3.2e12, without zeros that say nothing."""
    if not math.isfinite(count):
        return str(count)
    mantissa, _, exponent = f"{count:.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


def loss(value: float) -> str:
    """In nats a token, to what runs of one cell agree in."""
    return f"{value:.4f}"


def constant(value: float) -> str:
    """Four digits, plain unless very large or small."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:#.4g}".rstrip(".")
    return power(value, 4)


def within(estimate: Estimate, digits: Callable[[float], str] = loss) -> str:
    """The interval alone, its ends told as the value is."""
    return f"{digits(estimate.low)} to {digits(estimate.high)}"


def two(value: float) -> str:
    """Two digits, for a spread."""
    return f"{value:#.2g}".rstrip(".")


def runs(count: int) -> str:
    """1 run, 4 runs."""
    return f"{count} run" + ("" if count == 1 else "s")


def share(value: float) -> str:
    """A relative error: +0.12 %."""
    return f"{100 * value:+.2f} %"
