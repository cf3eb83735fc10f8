"""The places in a DataConfig, resolved so that they mean the same from every working directory."""

import glob
import os
from dataclasses import replace
from typing import TypeVar

from data.cache import is_remote
from data.config import DataConfig
from data.system import expanded

WITH_A_PLACE = ("text", "jsonl", "parquet")
"""Kinds of source that are read from paths; the others have names or sizes."""


Config = TypeVar("Config", bound=DataConfig)


def absolute(config: Config) -> Config:
    """The config with absolute paths in place of those of this directory and of `~`; URLs, names
    and sizes stay. What its files hold decides its rows, and where they lie does not."""
    return replace(
        config,
        sources=tuple(map(_source, config.sources)),
        tokenizer=config.tokenizer
        if config.tokenizer == "bytes"
        else _path("tokenizer", config.tokenizer),
        cache_dir=_path("cache_dir", config.cache_dir),
    )


def _source(spec: str) -> str:
    kind, _, where = spec.partition(":")
    return f"{kind}:{_place(where)}" if kind in WITH_A_PLACE else spec


def _path(field: str, path: str) -> str:
    if is_remote(path) and not os.path.lexists(path):
        return path
    return os.path.abspath(expanded(f"data.{field}", path))


def _place(where: str) -> str:
    if os.path.lexists(path := expanded("data.sources", where)):
        return glob.escape(os.path.abspath(path))
    return where if is_remote(where) else absolute_pattern(where)


def absolute_pattern(where: str) -> str:
    """A pattern for `glob` that matches the same files from every directory: the folder it is taken
    from has no special characters in it."""
    head, slash, rest = where.partition("/")
    if (home := os.path.expanduser(head)) != head:
        return f"{glob.escape(home.rstrip('/'))}{slash}{rest}"
    if where.startswith("/"):
        return where
    folder = os.getcwd()
    while head in (".", "..") and slash:
        folder = os.path.dirname(folder) if head == ".." else folder
        head, slash, rest = rest.partition("/")
    return os.path.join(glob.escape(folder), f"{head}{slash}{rest}")
