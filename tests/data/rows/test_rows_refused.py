"""Texts that make too few rows, or too many, are refused in words."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from data.config import DataConfig
from data.rows.rows import Split
from data.rows.tokens import TokenWindows, open_windows


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps({"text": f"<{i}>" * 9}) + "\n" for i in range(120)))
    cache = str(tmp_path / "cache")
    return DataConfig(
        sources=(f"jsonl:{source}",), sequence_length=16, held_out=0.2, cache_dir=cache
    )


def quietly(config: DataConfig, split: Split = "train") -> TokenWindows:
    return open_windows(config, split, lambda line: None)


def test_too_little_text(config: DataConfig) -> None:
    rows = quietly(config)
    message = rf"data\.sequence_length=9999 must be at most {rows.num_tokens:,}, because 'jsonl:"
    with pytest.raises(ValueError, match=message):
        quietly(replace(config, sequence_length=9999))
    message = r"data\.held_out=0\.0 must keep at least 16 tokens .* 0 in 0 documents"
    with pytest.raises(ValueError, match=message):
        quietly(replace(config, held_out=0.0), "held_out")


def test_more_rows_than_grain_can_number(config: DataConfig, tmp_path: Path) -> None:
    small = replace(config, sequence_length=1)
    quietly(small)
    (path,) = (tmp_path / "cache" / "stores").glob("*/manifest.json")
    manifest = json.loads(path.read_text())
    manifest["splits"]["train"][0]["tokens"] = 2**32 + 2
    path.write_text(json.dumps(manifest))
    with open(path.with_name("00000.train.tokens"), "r+b") as sparse:
        sparse.truncate(2 * (2**32 + 2))
    with pytest.raises(ValueError, match=r"at most 4,294,967,296 rows, .*-length 2 or more"):
        quietly(small)
