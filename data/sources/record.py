"""Fields of a record, and which of them hold texts."""

from collections.abc import Mapping, Sequence
from typing import Any

from data.sources.source import Unreadable


def fields_of(
    record: Any, fields: Sequence[str], where: str, kind: type = str
) -> Mapping[str, Any]:
    """The record, which has these fields; Unreadable, naming `where` and the fields whose values
    are texts, of type `kind`, if it is none or lacks one."""
    if isinstance(record, Mapping) and all(field in record for field in fields):
        return record
    has = ", ".join(record) if isinstance(record, Mapping) else type(record).__name__
    values = record if isinstance(record, Mapping) else {}
    lacks = next((field for field in fields if field not in values), fields[0])
    texts = [name for name, value in values.items() if isinstance(value, kind)]
    raise Unreadable(
        f"{where} has no field {lacks!r} but {has}", sorted(texts, key=lambda n: -len(values[n]))
    )
