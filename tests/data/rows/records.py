"""Files of records, and the rows that a config opens."""

import json
from pathlib import Path
from typing import Any

from data.config import SourcesConfig


def opened(config: SourcesConfig, split: Any = "train", report: Any = lambda line: None) -> Any:
    return config.open_rows(split, report=report)


def csv(path: Path, *lines: str) -> str:
    path.write_text("".join(f"{line}\n" for line in lines))
    return f"csv:{path}"


def jsonl(path: Path, *records: dict) -> str:
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return f"jsonl:{path}"
