"""Checkpoints by their names on a hub, ORG/NAME or ORG/NAME@REVISION, through the cache of
`huggingface_hub`: what is there is used, and fetched if it is not.
"""

import json
import re
from pathlib import Path

from data.errors import UserError
from launch.pretrained.safetensors import INDEX, WHOLE

NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json")
WANTED = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "chat_template.*",
    "modules.json",
    "1_Pooling/config.json",
    "2_Dense/config.json",
    *TOKENIZERS,
    WHOLE,
    INDEX,
    "model-*.safetensors",
)
"""Files that are fetched: none that can run a program when it is read."""


def is_name(where: str) -> bool:
    """Whether it can be a name of a hub, and is no folder."""
    return NAME.fullmatch(where) is not None and not Path(where).is_dir()


def pinned(name: str) -> str:
    """The name with the commit that its revision is now: `main`, if it says none."""
    repository, _, revision = name.partition("@")
    return name if COMMIT.fullmatch(revision) else f"{repository}@{snapshot(name).name}"


def is_same(name: str, before: str) -> bool:
    """Whether a name means the commit that another is pinned to, or did so when that was pinned."""
    (own, _, revision), (other, _, commit) = name.partition("@"), before.partition("@")
    return own == other and (revision == commit or not COMMIT.fullmatch(revision))


def snapshot(name: str) -> Path:
    """The folder of a name's files, called as its commit.

    What is in the cache with all that is needed is taken from there if it is a commit, or if there
    is no network. Raises ValueError if it is not, and cannot be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"start_from=hf:{name} must come with the package huggingface_hub, because that is no "
            "folder, and names are looked up by it; try: pip install 'meshloom[hub]'"
        ) from error
    repository, _, revision = name.partition("@")
    options = {"revision": revision or None, "allow_patterns": list(WANTED)}
    cached = None
    try:
        folder = Path(snapshot_download(repository, local_files_only=True, **options))
        cached = folder if _is_whole(folder) else None
    except OSError:
        pass  # it is not in the cache, or not all of it
    if cached is not None and COMMIT.fullmatch(revision):
        return cached
    try:
        # Other programs leave out of the cache what they do not read, such as how texts are pooled.
        folder = Path(snapshot_download(repository, **options))
    except (OSError, ValueError, RuntimeError) as error:
        if cached is not None:
            return cached
        cause = error.__cause__ or error
        lines = [line for line in str(cause).splitlines() if line.strip()]
        raise UserError(
            f"start_from=hf:{name} must be a folder, or the name of a checkpoint that is cached or "
            "can be fetched, but there is no such folder, and: "
            f"{type(cause).__name__}: {lines[0].rstrip('.') if lines else ''}; try its name, a "
            "network, a token (HF_TOKEN) if it is not public, or hf: and a folder that was "
            "fetched elsewhere"
        ) from error
    if not _weights(folder):
        raise UserError(
            f"start_from=hf:{name} must have {WHOLE}, or {INDEX}, because other weights, which are "
            "pickles, can run any program when they are read, but it has neither; try another "
            "revision, as in hf:ORG/NAME@refs/pr/1, or another checkpoint"
        )
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether a cached folder has all that is read: programs put only what they need there."""
    weights = _weights(folder)
    tokenizer = any((folder / name).is_file() for name in TOKENIZERS)
    config = (folder / "config.json").is_file()
    return bool(weights) and all(map(Path.is_file, weights)) and tokenizer and config


def _weights(folder: Path) -> list[Path]:
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    if not (folder / INDEX).is_file():
        return []
    try:
        places = json.loads((folder / INDEX).read_bytes())["weight_map"]
        return [folder / str(file) for file in set(places.values())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return [folder / INDEX]  # it is damaged, which is for who opens it to say
