"""Documents that tests of rows share, and the data of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from data.config import DataConfig
from data.rows.tokens import TokenWindows
from tests.data.rows.token_windows import T, quietly, write
from tests.vocabularies import byte_fallback, byte_level


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """Documents shorter and longer than a row, each byte naming its document."""
    return [f"<{i}>" * (i % 23 + 1) for i in range(120)]


@pytest.fixture(scope="module")
def config(folder: Path, texts: list[str]) -> DataConfig:
    source = write(folder / "a.jsonl", texts)
    cache = str(folder / "cache")
    return DataConfig(sources=(source,), sequence_length=T, held_out=0.2, cache_dir=cache)


@pytest.fixture(scope="module")
def rows(config: DataConfig) -> TokenWindows:
    return quietly(config)


@pytest.fixture(scope="module")
def mixed(folder: Path, config: DataConfig) -> DataConfig:
    other = write(folder / "b.jsonl", [f"[{i}]" * 9 for i in range(60)])
    return replace(config, sources=(*config.sources, other))


@pytest.fixture(scope="module")
def vocabularies(folder: Path) -> list[str]:
    """Tokenizers whose documents begin with another token than they end with, and with the same."""
    framed = byte_fallback(folder / "framed.json", ("<s>",))
    return ["bytes", str(framed), str(byte_level(folder / "level.json", "<eos>"))]
