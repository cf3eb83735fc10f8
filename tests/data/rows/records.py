"""Files of records, and the rows that a config opens."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from data.config import CorporaConfig


def opened(config: CorporaConfig, split: Any = "train", report: Any = lambda line: None) -> Any:
    return config.open_rows(split, report=report)


def csv(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return f"csv:{path}"


def jsonl(path: Path, *records: dict) -> str:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return f"jsonl:{path}"


def arrays(path: Path, **fields: Any) -> str:
    """A source of these fields in a file."""
    np.savez(path, **fields)
    return f"npz:{path}"
