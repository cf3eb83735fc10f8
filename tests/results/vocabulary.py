"""A vocabulary for a task, learnt from its training texts."""

import json
from collections.abc import Iterable
from pathlib import Path

from data.config import DataConfig
from data.tokenizer import load_tokenizer
from data.train_tokenizer import train_tokenizer


def tokenizer(folder: Path, texts: Iterable[str], size: int) -> str:
    """Flags of a byte-level BPE that is learnt from the training texts."""
    path, corpus = folder / "tokenizer.json", folder / "corpus.jsonl"
    if not path.exists():
        corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        config = DataConfig(sources=(f"jsonl:{corpus}",), held_out=0)
        train_tokenizer(config, size, path, report=print)
    count = load_tokenizer(str(path)).vocab_size
    rows = -(-count // 8) * 8
    return f"--data.tokenizer {path} --model.vocab-size {rows}"
