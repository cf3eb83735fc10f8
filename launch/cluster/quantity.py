"""Amounts of CPU and memory as Kubernetes writes them: 500m, 1.5, 64Gi, 2e9."""

import re
from fractions import Fraction

from data.errors import UserError

QUANTITY = re.compile(
    r"\+?([0-9]{1,30}\.?[0-9]{0,30}|\.[0-9]{1,30})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?"
)
POWERS = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {name: 2 ** (10 * n) for n, name in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}

LIMITS = {
    "cpus_per_node": (
        Fraction(1, 10),
        65_536,
        "from 100m to 65536, not finer than 1m, because Kubernetes reads it as CPUs, and a process "
        "on fewer hardly begins; try --cpus-per-node 8",
    ),
    "memory_per_node": (
        2**29,
        2**50,
        "from 512Mi to 1Pi, because Kubernetes reads it as bytes, and Python with JAX alone takes "
        "512Mi; try --memory-per-node 64Gi",
    ),
}


def require_quantity(name: str, text: str | None) -> None:
    """Raise ValueError if `cpus_per_node` or `memory_per_node` is no quantity that a pod could
    begin with."""
    if text is None:
        return
    smallest, largest, words = LIMITS[name]
    value = quantity(text)
    fine = name == "cpus_per_node" and value is not None and value * 1000 % 1 != 0
    if value is None or fine or not smallest <= value <= largest:
        raise UserError(
            f"{name}={text!r} must be a number, with a unit such as m, M or Gi or without, {words}"
        )


def quantity(text: str) -> Fraction | None:
    """The amount; None if Kubernetes would not read it (apimachinery's resource.Quantity)."""
    parts = QUANTITY.fullmatch(text)
    if parts is None:
        return None
    number, unit = Fraction(f"{parts[1]}0" if parts[1].endswith(".") else parts[1]), parts[2] or ""
    if unit in BINARY:
        return number * BINARY[unit]
    power = POWERS[unit] if unit in POWERS else int(unit[1:] or 0)
    return number * Fraction(10) ** power
