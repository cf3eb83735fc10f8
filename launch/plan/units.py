"""Numbers with a unit: tokens as people write them (300B, 4M, 1.5T), and bytes."""

from data.errors import UserError

UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
MOST = 10**18


def count(text: str, flag: str, example: str) -> int:
    """The number, decimal units; ValueError names the flag and the example to try."""
    number, unit = text.lower(), ""
    if number[-1:] in UNITS:
        number, unit = number[:-1], number[-1:]
    try:
        value = round(float(number.replace("_", "")) * UNITS[unit])
    except (ValueError, OverflowError):
        value = 0
    if not 1 <= value <= MOST:
        raise UserError(
            f"{flag}={text} must be a number from 1 to {MOST // 10**12:,}T, with K, M, B or T "
            f"behind it or nothing, because it counts; try --{flag.replace('_', '-')} {example}"
        )
    return value


def size(count: int) -> str:
    """Bytes in words: 3.2 MiB, 95.74 GiB."""
    name, factor = unit(count)
    return f"{count / factor:,.{2 if name == 'GiB' else 1}f} {name}"


def unit(count: int) -> tuple[str, int]:
    """That bytes are told in, and how many it is: GiB, or MiB where there is less than one."""
    return ("GiB", 2**30) if count >= 2**30 else ("MiB", 2**20)
