"""What opens each kind of rows. It is imported when it is used, so that `--help` stays fast."""

import pkgutil
from collections.abc import Callable
from typing import Any

OPENERS = {"tokens": "data.rows.tokens:open_windows"}
"""A function (config, split, report) by the kind of rows that it opens."""


def open_rows(kind: str, config: Any, split: str, report: Callable[[str], None]) -> Any:
    """The rows of that kind which `config` describes; `report` is given lines about the work."""
    return pkgutil.resolve_name(OPENERS[kind])(config, split, report)
