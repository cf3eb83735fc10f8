"""Numbers as people read them: 886K, 3.2e12, 95.74 GiB, 3:20. Imports nothing."""

import math
from collections.abc import Sequence

MIB, GIB = 2**20, 2**30
COUNTS = (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3))
"""Of parameters and tokens."""
PREFIXES = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
"""Of rates."""


def in_unit(value: float, units: Sequence[tuple[str, float]]) -> tuple[float, str]:
    """The value in the first of these units that it reaches, the largest first; as it is, with no
    unit, if it reaches none."""
    unit, size = next((each for each in units if value >= each[1]), ("", 1.0))
    return value / size, unit


def short(count: float) -> str:
    """Three digits and a unit: 886K, 124M, 1.24B."""
    number, unit = in_unit(float(f"{count:.3g}"), COUNTS)
    return f"{number:.3g}{unit}"


def rate(value: float) -> tuple[str, str]:
    """Three digits, and the prefix of their unit."""
    number, prefix = in_unit(value, PREFIXES)
    return f"{number:.3g}", prefix


def power(count: float, digits: int = 3) -> str:
    """As 3.2e12, without zeros that say nothing."""
    if not math.isfinite(count):
        return str(count)
    mantissa, _, exponent = f"{count:.{digits - 1}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa}e{int(exponent)}"


def constant(value: float) -> str:
    """Four digits, plain unless very large or small."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:#.4g}".rstrip(".")
    return power(value, 4)


def size_unit(count: float) -> tuple[str, int]:
    """The unit that a size is printed in, and its bytes: GiB, or MiB below one."""
    return ("GiB", GIB) if count >= GIB else ("MiB", MIB)


def size(count: float) -> str:
    """Bytes as a size: 3.2 MiB, 95.74 GiB."""
    name, unit = size_unit(count)
    return f"{count / unit:,.{2 if name == 'GiB' else 1}f} {name}"


def clock(seconds: float) -> str:
    """3:20, 1:03:20, 2d 07h."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours:02}h"
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
