"""Windows of tokens over files written for a test, and the text that is in them."""

import json
from pathlib import Path

import numpy as np

from data.config import DataConfig
from data.rows.rows import Split
from data.rows.tokens import TokenWindows, open_windows

T = 16


def quietly(config: DataConfig, split: Split = "train") -> TokenWindows:
    return open_windows(config, split, lambda line: None)


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return f"jsonl:{path}"


def stream_of(rows: TokenWindows) -> np.ndarray:
    """Inputs and targets of all rows of one source, in the order of the text, [2, rows * T]."""
    batch = rows.batch(np.arange(rows.num_rows))
    order = np.argsort(rows.examples(np.arange(rows.num_rows)))
    return np.stack([batch.tokens[order].ravel(), batch.targets[order].ravel()])


def documents_in(rows: TokenWindows, targets: np.ndarray) -> list[str]:
    """The text between the ends of documents; the last may be cut."""
    end = rows.tokenizer.end.id
    return rows.tokenizer.decode_batch(np.split(targets, np.flatnonzero(targets == end) + 1))
