"""Files for commands to read: sound ones with what they hold, and the same ones damaged."""

import gzip
import io
import json
import os
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

NAMES = (
    "plain", "[ab]", "st*r", "wh?t", "$HOME", "~me", " blank", "new\nline", "a,b", "x:y",
    "\udcff\udcfe", "\u00e4\u00f6", "-dash", "'q\"uote", "back\\slash", "{brace}", "%s",
    "tab\there", "#hash", "s3:", "..dots", "n" * 200,
)  # fmt: skip
HARM = (
    "none", "cut", "flip", "empty", "noise", "zeros", "bom", "utf16", "wrong ending", "surrogate",
    "nan", "bigint", "deep", "twice", "null", "latin", "no field", "number", "crlf", "gap",
    "missing", "dangling", "loop", "folder", "fifo", "socket", "device", "unreadable", "long name",
)  # fmt: skip


SOUND = {"none", "crlf"}
SOUND_JSON = {"bom", "bigint", "deep", "nan", "gap"}


class Origin(NamedTuple):
    """A value of --data.sources, how many documents a reader that says nothing must have read (None
    where there is no such number), and what a refusal must name."""

    spec: str
    documents: int | None
    mark: str
    sound: bool = False


def source(folder: Path, choose: random.Random) -> Origin:
    """Write a source, sound or not, below the folder."""
    kind = choose.choice(("text", "jsonl", "jsonl", "jsonl", "parquet"))
    ending = {"text": ".txt", "jsonl": ".jsonl", "parquet": ".parquet"}[kind]
    packing = choose.choice(("", "", ".gz", ".zst")) if kind != "parquet" else ""
    harm = choose.choice(HARM) if choose.random() < 0.8 else "none"
    name = choose.choice(NAMES) if choose.random() < 0.5 else "plain"
    path = folder / f"{name}mark{ending}{packing}"
    texts = [
        f"document {i} " + "word " * choose.randint(3, 30) for i in range(choose.randint(1, 40))
    ]
    where = str(path) if choose.random() < 0.7 else path.name
    if harm in PLACES:
        PLACES[harm](path)
        if harm == "long name":
            where = str(path.with_name("mark" + "n" * 300))
        return Origin(f"{kind}:{where}", None, "mark")
    content, documents = WRITERS[kind](texts, harm)
    packed = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[packing](content)
    path.write_bytes(packed if harm not in BYTES else BYTES[harm](packed, choose))
    if harm in ("cut", "flip", "zeros", "noise", "empty") and kind != "parquet" and not packing:
        lines = path.read_bytes().split(b"\n")
        documents = (
            sum(bool(line.strip()) for line in lines) if kind == "jsonl" else min(documents or 0, 1)
        )
        documents = documents if path.stat().st_size else 0
    if harm == "wrong ending":
        other = choose.choice((".gz", ".zst", ""))
        if other != packing:
            documents = None
        path = path.rename(folder / f"{name}mark{ending}{other}")
        where = str(path)
    sound = harm in SOUND or (harm in SOUND_JSON and kind == "jsonl")
    return Origin(f"{kind}:{where}", documents, "mark", sound)


def _jsonl(texts: list[str], harm: str) -> tuple[bytes, int | None]:
    lines = [json.dumps({"text": text, "id": i}).encode() for i, text in enumerate(texts)]
    end = b"\r\n" if harm == "crlf" else b"\n"
    sound: dict[str, bytes] = {
        "bigint": b'{"text": "big", "id": ' + b"7" * 5000 + b"}",
        "deep": b'{"text": "deep", "meta": ' + b"[" * 9000 + b"]" * 9000 + b"}",
        "nan": b'{"text": "nan", "id": NaN}',
        "gap": b"",
    }
    wrong: dict[str, bytes] = {
        "surrogate": b'{"text": "\\ud800"}',
        "twice": b'{"text": "a", "text": "b"}',
        "null": b'{"text": null}',
        "latin": b'{"text": "\xe4"}',
        "no field": b'{"body": "x"}',
        "number": b'{"text": 7}',
    }
    if harm in sound:
        lines.append(sound[harm])
    if harm in wrong:
        lines.append(wrong[harm])
    content = end.join(lines) + end
    if harm == "bom":
        content = b"\xef\xbb\xbf" + content
    if harm == "utf16":
        return content.decode().encode("utf-16"), None
    return content, None if harm in wrong else len(lines) - (harm == "gap")


def _text(texts: list[str], harm: str) -> tuple[bytes, int | None]:
    content = "\n".join(texts).encode()
    if harm == "latin":
        return content + b"\xe4", None
    if harm == "utf16":
        return content.decode().encode("utf-16"), None
    return content, 1


def _parquet(texts: list[str], harm: str) -> tuple[bytes, int | None]:
    columns: dict[str, Callable[[], pa.Array]] = {
        "null": lambda: pa.array([*texts, None], pa.string()),
        "number": lambda: pa.array(range(len(texts))),
        "latin": lambda: pa.array([b"\xe4"] * len(texts), pa.binary()),
        "deep": lambda: pa.array([[text] for text in texts]),
        "nan": lambda: pa.array(texts).dictionary_encode(),
        "bigint": lambda: pa.array(texts, pa.large_string()),
        "gap": lambda: pa.array([], pa.string()),
    }
    name = "body" if harm == "no field" else "text"
    column = columns.get(harm, lambda: pa.array(texts))()
    names = [name, "text"] if harm == "twice" else [name]
    sink = io.BytesIO()
    pq.write_table(pa.table([column] * len(names), names=names), sink, row_group_size=7)
    bad = harm in ("null", "number", "latin", "deep", "no field", "twice", "gap")
    return sink.getvalue(), None if bad else len(texts)


WRITERS: dict[str, Callable[[list[str], str], tuple[bytes, int | None]]] = {
    "text": _text,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


def flipped(content: bytes, choose: random.Random) -> bytes:
    """One byte is another one."""
    place = choose.randrange(len(content) or 1)
    return content[:place] + bytes([choose.randrange(256)]) + content[place + 1 :]


BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda content, choose: content[: choose.randrange(len(content) or 1)],
    "flip": flipped,
    "empty": lambda content, choose: b"",
    "noise": lambda content, choose: choose.randbytes(200),
    "zeros": lambda content, choose: content[: len(content) // 2] + bytes(500),
}


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's whole path may have 107 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(os.fsencode(path.name[-90:]))
        Path(path.name[-90:]).rename(path.name)
    finally:
        os.chdir(here)


def _unreadable(path: Path) -> None:
    path.write_bytes(b"text")
    path.chmod(0)


PLACES: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: None,
    "dangling": lambda path: path.symlink_to("nowhere"),
    "loop": lambda path: path.symlink_to(path.name),
    "folder": lambda path: path.mkdir(),
    "fifo": _fifo,
    "socket": _socket,
    "device": lambda path: path.symlink_to("/dev/null"),
    "unreadable": _unreadable,
    "long name": lambda path: None,
}
"""What may stand at a path in place of a file."""

YAML = (
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "[" * 3000, "{" * 50, "- 1\n- 2\n", "", "\0",
    "\t", "model: 3\n", "model: {}\n", "1: 2\n", "? [a]\n: b\n",
    "preset: !!python/object:os.system x\n",
    "preset: tiny\nmodel: {num_layers: " + "9" * 5000 + "}\n", "data: {sources: [3]}\n",
    "&a [*a]\n", "preset: &x\n  y: *x\n", "2001-01-01: 5\n", "preset: 2001-99-99\n",
    "train: null\n", "a: !!binary x\n", "a: .nan\n", "'\\ud800': x\n", "\ufeffpreset: tiny\n",
    "preset: tiny\npreset: tiny\n", "%YAML 9\n---\n", "a: 1_000_000__\n",
    "a: 0x" + "f" * 6000 + "\n", "a: 190:20:30:" + "1:" * 3000 + "5\n", "? {a: 1}\n: 2\n",
    "!!set {a, b}\n", "a: !!timestamp 9999-99-99\n", "<<: 3\n", "<<: [1]\n",
    "a: " + "x" * 100000 + "\n",
)  # fmt: skip
"""What a config is not."""


def damage(path: Path, choose: random.Random) -> None:
    """Harm one file in one way, or put something else at its place."""
    if path.is_dir():
        return
    harm = choose.choice([*BYTES, *BYTES, "yaml", *(set(PLACES) - {"long name"})])
    content = path.read_bytes()
    if harm in BYTES:
        path.write_bytes(BYTES[harm](content, choose))
    elif harm == "yaml":
        text = choose.choice(YAML)
        path.write_bytes(text.encode(errors="surrogatepass"))
    else:
        path.unlink()
        PLACES[harm](path)
