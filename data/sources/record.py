"""Fields of a record: which of them hold texts, and the text of one."""

from typing import Any

from data.sources.source import Unreadable


def field_of(record: Any, field: str, where: str) -> str:
    """The text in a field of a JSON value; Unreadable, naming `where`, if it has none there."""
    if not isinstance(record, dict) or field not in record:
        has = ", ".join(record) if isinstance(record, dict) else type(record).__name__
        raise Unreadable(f"{where} has no field {field!r} but {has}", fields_of(record, str))
    return text_of(record[field], field, where)


def text_of(value: Any, field: str, where: str) -> str:
    """The value itself; Unreadable, naming its field, if it is no text."""
    if not isinstance(value, str):
        raise Unreadable(f"field {field!r} of {where} is {type(value).__name__}, no text")
    return value


def fields_of(record: Any, kind: type) -> list[str]:
    """Names of a record's fields of that type, the longest value first."""
    fields = record if isinstance(record, dict) else {}
    names = [name for name, value in fields.items() if isinstance(value, kind)]
    return sorted(names, key=lambda name: -len(fields[name]))
