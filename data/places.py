"""The places in a DataConfig, resolved so that they mean the same from every working directory."""

import os
from dataclasses import replace
from typing import TypeVar

from data.cache import is_remote
from data.config import DataConfig
from data.system import expanded

Config = TypeVar("Config", bound=DataConfig)


def absolute(config: Config) -> Config:
    """The config with absolute paths in place of those of this directory and of `~`; URLs, names
    and sizes stay. What its files hold decides its rows, and where they lie does not."""
    return replace(
        config,
        sources=tuple(config.source_of(spec).absolute() for spec in config.sources),
        tokenizer=config.tokenizer
        if config.tokenizer == "bytes"
        else _path("tokenizer", config.tokenizer),
        cache_dir=_path("cache_dir", config.cache_dir),
    )


def _path(field: str, path: str) -> str:
    if is_remote(path) and not os.path.lexists(path):
        return path
    return os.path.abspath(expanded(f"data.{field}", path))
