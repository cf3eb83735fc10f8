"""Making stores: once, in parallel, and on from where a kill left it."""

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from data.config import DataConfig
from data.corpus import open_corpus
from data.sources.source import Corpus
from data.store import open_store
from data.tokenizer import ByteTokenizer
from tests.command import ROOT

SIZE = 120_000
# Opens a store of many small shards in as many processes as there are cores, printing each report.
# Asked to, it kills itself after ten shards, or one of its workers after three.
OPEN = f"""
import multiprocessing, os, signal, sys
import data.store, data.sources.synthetic
from data.config import DataConfig
from data.corpus import open_corpus
from data.tokenizer import ByteTokenizer
data.store.PIECE = data.sources.synthetic.PIECE = 3000
def report(line):
    workers = [worker.pid for worker in multiprocessing.active_children()]
    print(line, flush=True)
    if "tokenized 10 of 40" in line and "self" in sys.argv:
        print(*workers, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if "tokenized 3 of 40" in line and "worker" in sys.argv:
        os.kill(workers[0], signal.SIGKILL)
if __name__ == "__main__":
    config = DataConfig(held_out=0.1, cache_dir=sys.argv[1])
    corpus = open_corpus("synthetic:{SIZE}", config, report)
    print(data.store.open_store(corpus, ByteTokenizer(), config, report).digest)
"""


def start(tmp_path: Path, cache: Path, *kill: str) -> subprocess.Popen:
    script = tmp_path / "open.py"
    script.write_text(OPEN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(cache), *kill]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )


def contents(cache: Path) -> dict[str, bytes]:
    (manifest,) = (cache / "stores").glob("*/manifest.json")
    return {file.name: file.read_bytes() for file in sorted(manifest.parent.iterdir())}


def alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_killed_build_goes_on_from_its_finished_shards(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with start(tmp_path, cache, "self") as killed:
        assert killed.stdout is not None
        lines = iter(killed.stdout.readline, "")
        assert any("tokenized 10 of 40" in line for line in lines)
        workers = [int(worker) for worker in next(lines).split()]
    assert killed.returncode == -signal.SIGKILL and workers
    assert not list((cache / "stores").glob("*/manifest.json"))
    (partial,) = (cache / "stores").glob("*.partial")
    numbers = [record.stem for record in partial.glob("*.json")]
    assert len(numbers) >= 10
    finished = {
        file.name: file.stat().st_mtime_ns
        for number in numbers
        for file in partial.glob(f"{number}.*")
        if file.suffix != ".tmp"
    }
    with start(tmp_path, cache) as second:
        output = second.communicate()[0]
    assert second.returncode == 0
    assert "of 40 shards are there already" in output and "tokenized 40 of 40" in output
    (manifest,) = (cache / "stores").glob("*/manifest.json")
    for name, written in finished.items():
        assert (manifest.parent / name).stat().st_mtime_ns == written, "written again"
    assert not list(manifest.parent.glob("*.tmp"))
    assert not [worker for worker in workers if alive(worker)], "workers outlive their parent"
    with start(tmp_path, tmp_path / "straight") as straight:
        straight.communicate()
    assert contents(cache) == contents(tmp_path / "straight")


def test_a_killed_worker_ends_the_build_with_words(tmp_path: Path) -> None:
    with start(tmp_path, tmp_path / "cache", "worker") as build:
        output = build.communicate()[0]
    assert build.returncode != 0
    assert "data.sources='synthetic:120000' must fit in memory" in output
    assert "finished shards are kept" in output


def test_several_processes_make_it_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with start(tmp_path, cache) as first, start(tmp_path, cache) as second:
        outputs = [first.communicate()[0], second.communicate()[0]]
    assert first.returncode == second.returncode == 0
    assert sum("tokenized 40 of 40 shards" in output for output in outputs) == 1
    assert outputs[0].splitlines()[-1] == outputs[1].splitlines()[-1]


def quietly(corpus: Corpus, held_out: float = 0.1) -> str:
    return open_store(
        corpus, ByteTokenizer(), DataConfig(held_out=held_out), lambda line: None
    ).digest


def test_the_digest_covers_what_decides_the_tokens(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one", "body": "two"}\n')

    def corpus(spec: str, field: str) -> Corpus:
        config = DataConfig(text_field=field, cache_dir=str(tmp_path / "cache"))
        return open_corpus(spec, config, lambda line: None)

    spec = f"jsonl:{tmp_path}/a.jsonl"
    digests = [
        quietly(corpus(spec, "text")),
        quietly(corpus(spec, "body")),
        quietly(corpus(spec, "text"), held_out=0.2),
        quietly(corpus("synthetic:1000", "text")),
        quietly(corpus("synthetic:2000", "text")),
    ]
    assert len(set(digests)) == len(digests)
    assert quietly(corpus(spec, "text")) == digests[0]
    assert quietly(corpus("synthetic:1000", "body")) == digests[3]


@pytest.mark.parametrize("kind", ["text", "jsonl"])
def test_an_empty_corpus_is_refused(tmp_path: Path, kind: str) -> None:
    for name in "ab":
        (tmp_path / f"{name}.{kind}").touch()
    spec = f"{kind}:{tmp_path}/*.{kind}"
    corpus = open_corpus(spec, DataConfig(cache_dir=str(tmp_path / "cache")), lambda line: None)
    message = rf"data\.sources='{kind}:.* must hold text, .* its 2 files are empty"
    with pytest.raises(ValueError, match=message):
        quietly(corpus)


def test_damage_seen_by_a_worker_is_a_user_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.store.PIECE", 10)
    for name in "abc":
        (tmp_path / f"{name}.txt").write_bytes(b"long enough for a shard")
    (tmp_path / "d.txt").write_bytes(b"bad \xff")
    spec = f"text:{tmp_path}/*.txt"
    corpus = open_corpus(spec, DataConfig(cache_dir=str(tmp_path / "cache")), lambda line: None)
    with pytest.raises(ValueError, match=r"in .*d\.txt byte 4 \(0xff\) is not UTF-8") as caught:
        quietly(corpus)
    assert traceback.extract_tb(caught.tb)[-1].filename.endswith("data/store.py")
    (partial,) = (tmp_path / "cache" / "stores").glob("*.partial")
    for record in partial.glob("*.json"):
        assert json.loads(record.read_text())["train"]["documents"] <= 1
