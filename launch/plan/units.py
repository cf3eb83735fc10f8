"""Numbers with a unit: tokens as people write them (300B, 4M, 1.5T), and bytes."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


def count(text: str, flag: str) -> int:
    """The number, decimal units; ValueError names the flag."""
    number, unit = text.lower(), ""
    if number[-1:] in UNITS:
        number, unit = number[:-1], number[-1:]
    try:
        value = round(float(number.replace("_", "")) * UNITS[unit])
    except (ValueError, OverflowError):
        value = 0
    if value < 1:
        raise ValueError(
            f"{flag}={text} must be a number of at least 1, with K, M, B or T behind it or "
            f"nothing, because it counts; try --{flag.replace('_', '-')} 300B"
        )
    return value


def size(count: int) -> str:
    """Bytes in words: 3.2 MiB, 95.74 GiB."""
    return f"{count / 2**30:,.2f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"
