"""A plan's traffic as a table of at most 80 columns, and as JSON."""

from typing import Any

from launch.plan.traffic import SMALL, Row, Traffic


def traffic_lines(told: Traffic) -> list[str]:
    """Kinds and axes with both counts of bytes, then what nobody asked for; each part ends with an
    empty line."""
    if not (told.rows or told.needs):
        return ["traffic of a step: none, as a device alone sends nothing", "", *_flags(told)]
    lines = [
        "traffic of a step, sent by each device; least is arithmetic",
        _line("", "runs", "compiler", "least", "ratio"),
    ]
    lines += map(_row, told.rows)
    missing = {(need.kind, need.axis) for need in told.needs}
    missing -= {(row.kind, row.axes[0]) for row in told.rows if len(row.axes) == 1}
    for kind, axis in sorted(missing):
        size = sum(need.bytes for need in told.needs if (need.kind, need.axis) == (kind, axis))
        lines.append(_line(f"{kind} over {axis}", "0", _size(0), _size(size), ""))
    whole = Row("all-reduce", (), 0, 0, told.bytes, told.least)
    lines.append(_line("in all", "", _size(told.bytes), *_against(whole)))
    return [*lines, "", *_flags(told)]


def _flags(told: Traffic) -> list[str]:
    large = [one for one in told.unasked if one.bytes >= SMALL * told.bytes]
    small = [one for one in told.unasked if one not in large]
    lines = ["the layout does not ask for"] if told.unasked else []
    for one in large:
        name = f"{one.kind} over {' x '.join(one.axes) or 'no axes'}"
        lines += [
            _line(name, f"{one.count:,}", _size(one.bytes)),
            f"    {one.where or 'line unknown'}",
        ]
    if small:
        runs = sum(one.count for one in small)
        lines.append(_line("small ones", f"{runs:,}", _size(sum(one.bytes for one in small))))
    if told.excess:
        lines.append("sums far beyond what the layout asks for")
    for row, parts in told.excess:
        lines.append(_row(row))
        lines += [
            _line(f"    {one.where[-36:] or 'line unknown'}", f"{one.count:,}", _size(one.bytes))
            for one in parts
            if one.bytes >= SMALL * told.bytes
        ]
    if told.uncounted:
        lines.append("products not counted, as the kernel is not known")
        lines += [_line(f"    {name}"[:40], f"{runs:,}") for name, runs in told.uncounted.items()]
    return [*lines, ""] if lines else []


def _row(row: Row) -> str:
    name = f"{row.kind} over {' x '.join(row.axes) or 'no axes'}"
    return _line(name, f"{row.runs:,}", _size(row.bytes), *_against(row))


def _against(row: Row) -> tuple[str, str]:
    if not row.least:
        return "", ""
    ratio = row.bytes / row.least
    return _size(row.least), f"{ratio:.2f}" if ratio < 1000 else "> 999"


def _line(name: str, *columns: str) -> str:
    widths = (9, 12, 12, 7)
    cells = [f"{cell:>{width}}" for cell, width in zip(columns, widths, strict=False)]
    return f"{name:<40}{''.join(cells)}".rstrip()


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"


def record(told: Traffic) -> dict[str, Any]:
    """For JSON: all in bytes a chip and step."""
    return {
        "bytes": told.bytes,
        "least": told.least,
        "collectives": [row._asdict() for row in told.rows],
        "needs": [need._asdict() for need in told.needs],
        "unasked": [one._asdict() for one in told.unasked],
        "excess": [
            {**row._asdict(), "lines": [one._asdict() for one in lines]}
            for row, lines in told.excess
        ],
        "uncounted": told.uncounted,
        "origins": {"least": "arithmetic", "needs": "arithmetic", "others": "compiler"},
    }
