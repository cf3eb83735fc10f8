"""Finding a corpus, knowing its content, and naming what is bad in it."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.config import DataConfig
from data.corpus import open_corpus
from data.sources.source import Corpus
from data.tokenizer import load_tokenizer
from tests.bucket import bucket_in_memory
from tests.command import ROOT


def config_of(cache: Path, field: str = "text") -> DataConfig:
    return DataConfig(cache_dir=str(cache), text_field=field)


def open_quietly(spec: str, cache: Path, field: str = "text") -> Corpus:
    return open_corpus(spec, config_of(cache, field), lambda line: None)


def texts(corpus: Corpus) -> list[str]:
    return [document.text for piece in corpus.pieces() for document in corpus.read(piece)]


def test_globs_are_read_in_order_of_their_paths(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.txt", "a.txt", "deep/c.txt", "other.md"):
        (tmp_path / name).write_text(f"text of {name}")
    corpus = open_quietly(f"text:{tmp_path}/**/*.txt", tmp_path / "cache")
    assert texts(corpus) == ["text of a.txt", "text of b.txt", "text of deep/c.txt"]
    (piece, *_) = corpus.pieces()
    (document,) = corpus.read(piece)
    assert document == ("text of a.txt", str(tmp_path / "a.txt"), 0)


LETTERS = st.sampled_from("ab[]*?~$ \n\\'\"{},:-\udcff\u00e4#%")
NAMES = st.text(LETTERS, min_size=1, max_size=8).filter(lambda name: name.strip("."))


@settings(max_examples=60)
@given(name=NAMES, folder=NAMES, kind=st.sampled_from(["text", "jsonl"]))
def test_a_path_of_any_characters_is_the_file_of_that_name(
    tmp_path_factory: pytest.TempPathFactory, name: str, folder: str, kind: str
) -> None:
    below = tmp_path_factory.mktemp("any") / folder
    below.mkdir()
    (below / name).write_text('{"text": "this"}')
    (below / "a").write_text('{"text": "this"}')
    wanted = {"text": '{"text": "this"}', "jsonl": "this"}[kind]
    corpus = open_quietly(f"{kind}:{below / name}", below / "cache")
    (document,) = (document for piece in corpus.pieces() for document in corpus.read(piece))
    assert document == (wanted, str(below / name), 0)


@pytest.mark.parametrize("name", ["~", "~me/a.txt", "s3://bucket/a.txt", "http://x.org/a"])
def test_a_relative_path_that_is_there_is_no_home_and_no_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("here")
    assert texts(open_quietly(f"text:{name}", tmp_path / "cache")) == ["here"]


def test_a_name_that_is_also_a_pattern_is_said(tmp_path: Path) -> None:
    for name in ("[ab].txt", "a.txt", "b.txt"):
        (tmp_path / name).write_text(name)
    lines: list[str] = []
    spec = f"text:{tmp_path}/[ab].txt"
    corpus = open_corpus(spec, config_of(tmp_path / "cache"), lines.append)
    assert texts(corpus) == ["[ab].txt"]
    assert lines[0].endswith("as the name of one file; as a pattern it would match 2 other files")
    (tmp_path / "[ab].txt").unlink()
    assert texts(open_quietly(spec, tmp_path / "cache")) == ["a.txt", "b.txt"]


@pytest.mark.parametrize("place", ["dangling", "loop", "fifo", "folder that is closed"])
def test_a_pattern_leaves_nothing_out_without_a_word(tmp_path: Path, place: str) -> None:
    (tmp_path / "a.txt").write_text("one")
    other = tmp_path / "b.txt"
    if place == "dangling":
        other.symlink_to("nowhere")
    elif place == "loop":
        other.symlink_to(other)
    elif place == "fifo":
        os.mkfifo(other)
    else:
        other.mkdir(mode=0)
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from tests.modes import obey_modes\n"
        "from data.config import DataConfig\n"
        "from data.corpus import open_corpus\n"
        "obey_modes()\n"
        f"config = DataConfig(cache_dir='{tmp_path}/cache')\n"
        f"open_corpus('text:{tmp_path}/**/*.txt', config, print)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "UserError: data.sources='text:" in done.stderr.splitlines()[-1]
    assert f"{other}: " in done.stderr.splitlines()[-1]


def test_digest_follows_content_not_names_or_times(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    first = open_quietly(f"text:{tmp_path}/*.txt", cache).digest
    os.utime(tmp_path / "a.txt", (1, 1))
    assert open_quietly(f"text:{tmp_path}/*.txt", cache).digest == first
    (tmp_path / "moved").mkdir()
    for name in "ab":
        (tmp_path / f"{name}.txt").rename(tmp_path / "moved" / f"{name}.txt")
    assert open_quietly(f"text:{tmp_path}/moved/*.txt", cache).digest == first
    (tmp_path / "moved" / "b.txt").write_text("owt")
    assert open_quietly(f"text:{tmp_path}/moved/*.txt", cache).digest != first


def test_content_is_hashed_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    lines: list[str] = []
    for _ in range(2):
        open_corpus(f"text:{tmp_path}/a.txt", config_of(tmp_path / "cache"), lines.append)
    assert len(lines) == 1 and "hashing 1 file," in lines[0]


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"data\.sources='text:.*' must match a file, .* there is none"
    ):
        open_quietly(f"text:{tmp_path}/*.txt", tmp_path)


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    corpus = open_quietly(f"text:{tmp_path}/a.txt", tmp_path / "cache")
    (tmp_path / "a.txt").unlink()
    with pytest.raises(
        ValueError, match=r"must be readable to its end, .* in .*a\.txt the .* No such file"
    ):
        texts(corpus)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("one")
    folder.joinpath("b.txt").symlink_to("/proc/self/mem")
    with pytest.raises(
        ValueError, match=r"must be usable, because its text is needed, but .*b\.txt"
    ):
        open_quietly(f"text:{folder}/*.txt", tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"ok \xff", r"in .*a\.txt byte 3 \(0xff\) is not UTF-8; try repairing"),
        ("a.jsonl", b'{"text": "x"}\n{"te', r"in .*a\.jsonl the line at byte 14 is no JSON"),
        (
            "a.jsonl.gz",
            gzip.compress(b"x" * 99, mtime=0)[:-9],
            r"in .*a\.jsonl\.gz its gzip stream breaks",
        ),
        (
            "a.jsonl",
            b'{"id": "7", "body": "longer"}',
            r"no field 'text' but id, body; try --data\.text-field body or id, or repairing that",
        ),
        ("a.jsonl", b'{"id": 7}', r"has no field 'text' but id; try repairing that file"),
        ("a.parquet", b"PAR1 cut", r"in .*a\.parquet it is no whole Parquet file"),
    ],
)
def test_damage_is_named_with_file_and_place(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    kind = "text" if name.endswith("txt") else name.split(".")[1]
    corpus = open_quietly(f"{kind}:{tmp_path}/{name}", tmp_path / "cache")
    with pytest.raises(ValueError, match=rf"data\.sources='{kind}:.* must be readable .*{message}"):
        texts(corpus)


def test_buckets(tmp_path: Path) -> None:
    bucket = bucket_in_memory()
    for name in "ab":
        bucket.pipe(f"s3://bucket/texts/{name}.jsonl", json.dumps({"text": name}).encode())
    corpus = open_quietly("jsonl:s3://bucket/texts/*.jsonl", tmp_path)
    assert texts(corpus) == ["a", "b"]
    assert corpus.files == ("s3://bucket/texts/a.jsonl", "s3://bucket/texts/b.jsonl")
    assert texts(open_quietly("jsonl:s3://bucket/texts/b.jsonl", tmp_path)) == ["b"]
    with pytest.raises(ValueError, match="must match a file"):
        open_quietly("jsonl:s3://bucket/texts/c.jsonl", tmp_path)
    assert texts(open_quietly("jsonl:s3://bucket/te?ts/[b].jsonl", tmp_path)) == ["b"]
    bucket.pipe("s3://bucket/texts/[b].jsonl", json.dumps({"text": "literal"}).encode())
    assert texts(open_quietly("jsonl:s3://bucket/texts/[b].jsonl", tmp_path)) == ["literal"]
    with pytest.raises(ValueError, match=r"must have no '\*\*'"):
        open_quietly("jsonl:s3://bucket/**/b.jsonl", tmp_path)


class NoCredentialsError(Exception):
    """Of a storage's library; it is neither a ValueError nor of the system's."""


@pytest.mark.parametrize("method", ["exists", "_open"])
def test_what_a_bucket_s_library_raises_names_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    bucket = bucket_in_memory()
    bucket.pipe("s3://texts/a.txt", b"text")

    def refused(*_: object, **__: object) -> None:
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(type(bucket), method, refused)
    message = r"'s3://texts/a\.txt' must be reachable, .* NoCredentialsError: Unable .*; try check"
    with pytest.raises(ValueError, match=message):
        texts(open_quietly("text:s3://texts/a.txt", tmp_path / "cache"))
    with pytest.raises(ValueError, match=r"'s3://texts/a\.json' must be reachable"):
        monkeypatch.setattr(type(bucket), "_open", refused)
        load_tokenizer("s3://texts/a.json")


def test_the_standard_library_is_every_file_of_it(tmp_path: Path) -> None:
    corpus = open_quietly("stdlib", tmp_path)
    documents = [document for piece in corpus.pieces() for document in corpus.read(piece)]
    assert len(documents) == len(corpus.files)
    (parser,) = [document for document in documents if document.file == "argparse.py"]
    assert parser.text.startswith("# Author: Steven J. Bethard")
    lines: list[str] = []
    assert open_corpus("stdlib", config_of(tmp_path), lines.append).digest == corpus.digest
    assert not lines
