"""Finished stores in a bucket: copied to this machine before use, and back after being made."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from etils import epath

from data import durable
from data.shard import SPLITS
from data.stream import MANIFEST


def fetch(remote: epath.Path, folder: Path, report: Callable[[str], None]) -> bool:
    """Copy a finished store here, its manifest last; False if the bucket has none."""
    if not (remote / MANIFEST).exists():
        return False
    manifest = json.loads((remote / MANIFEST).read_text())
    report(f"copying the tokens of {manifest['source']} from {remote}")
    names = _names(manifest)
    sizes = [(remote / name).stat().length for name in names]
    missing = [
        name
        for name, size in zip(names, sizes, strict=True)
        if not (folder / name).exists() or (folder / name).stat().st_size != size
    ]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: _download(remote / name, folder / name), missing))
    durable.write(folder / MANIFEST, (remote / MANIFEST).read_bytes())
    return True


def publish(folder: Path, remote: epath.Path, report: Callable[[str], None]) -> None:
    """Copy a store into the bucket, its manifest last."""
    manifest = json.loads((folder / MANIFEST).read_text())
    report(f"copying the tokens of {manifest['source']} to {remote}")
    remote.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(16) as pool:
        names = _names(manifest)
        list(
            pool.map(lambda name: (remote / name).write_bytes((folder / name).read_bytes()), names)
        )
    (remote / MANIFEST).write_bytes((folder / MANIFEST).read_bytes())


def _names(manifest: dict) -> list[str]:
    count = len(manifest["splits"]["train"])
    stems = [f"{i:05}.{split}" for i in range(count) for split in SPLITS]
    return [stem + end for stem in stems for end in (".npz", ".tokens")]


def _download(source: epath.Path, target: Path) -> None:
    durable.write(target, source.read_bytes())
