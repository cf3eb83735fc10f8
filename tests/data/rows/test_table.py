"""The table of rows: what it names is there."""

import pkgutil

from data.rows.table import OPENERS


def test_every_kind_of_rows_can_be_opened() -> None:
    assert all(callable(pkgutil.resolve_name(name)) for name in OPENERS.values())
