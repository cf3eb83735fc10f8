"""Tokens on disk, written once: a folder named by the digest of what went in.

It is written shard by shard. Finished shards survive a kill; the folder gets its name last. Several
processes may ask at once.
"""

import json
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from data import durable, mirror
from data.cache import (
    digest_of,
    is_remote,
    kept_in,
    local_cache,
    locked,
    reachable,
    remote_path,
)
from data.config import TextConfig
from data.errors import UserError
from data.round_trip import refuse_boundaries, refuse_lost
from data.shard import SPLITS, record_of, token_type, write_shard
from data.sources.source import PIECE, Corpus, Piece
from data.stream import MANIFEST, Store
from data.tokenizer import Tokenizer

FORMAT = 1


class ShardJob(NamedTuple):
    """What `write_shard` takes."""

    folder: Path
    number: int
    corpus: Corpus
    pieces: list[Piece]
    config: TextConfig


def open_store(
    corpus: Corpus,
    tokenizer: Tokenizer,
    config: TextConfig,
    report: Callable[[str], None],
) -> Store:
    """The corpus as tokens; built first if the cache lacks it, by one process while others wait.

    ValueError if the tokenizer loses more of the text than `config` allows, or makes one of the
    tokens between documents of it.
    """
    digest = digest_of(FORMAT, corpus.digest, corpus.field, tokenizer.digest, config.held_out)
    folder = local_cache(corpus.cache_dir) / "stores" / digest
    with kept_in(corpus.cache_dir):
        if not (folder / MANIFEST).exists():
            with locked(folder.with_suffix(".lock"), report):
                if not (folder / MANIFEST).exists():
                    _obtain(folder, corpus, tokenizer, config, report)
        store = Store(folder)
    for shard in store.text:
        refuse_lost(config, corpus.spec, shard)
        refuse_boundaries(tokenizer, config, f"the text of {corpus.spec}", shard["special"])
    return store


def _obtain(
    folder: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    config: TextConfig,
    report: Callable[[str], None],
) -> None:
    partial = folder.with_suffix(".partial")
    partial.mkdir(parents=True, exist_ok=True)
    for left in partial.glob(f"*{durable.TEMPORARY}"):
        left.unlink()
    remote = None
    if is_remote(corpus.cache_dir):
        remote = remote_path(corpus.cache_dir) / "stores" / folder.name
    with reachable(corpus.cache_dir):
        fetched = bool(remote) and mirror.fetch(remote, partial, report)
    if not fetched:
        shards = list(_planned(corpus.pieces()))
        # Workers know their pieces; the list of all files would be sent with every job.
        slim = replace(corpus, files=(), sizes=())
        jobs = [
            ShardJob(partial, number, slim, pieces, config) for number, pieces in enumerate(shards)
        ]
        _write(jobs, report)
        _finish(partial, corpus, len(jobs), token_type(tokenizer.vocab_size).str)
        if remote:
            with reachable(corpus.cache_dir):
                mirror.publish(partial, remote, report)
    partial.rename(folder)
    durable.sync(folder.parent)


def _planned(pieces: list[Piece]) -> Iterator[list[Piece]]:
    """Neighbouring pieces joined to shards of about PIECE bytes; every process plans the same."""
    shard: list[Piece] = []
    size = 0
    for piece in pieces:
        if shard and size + piece.size > PIECE:
            yield shard
            shard, size = [], 0
        shard.append(piece)
        size += piece.size
    if shard:
        yield shard


def _write(jobs: list[ShardJob], report: Callable[[str], None]) -> None:
    """Write the shards that are not finished, reporting each."""
    missing = [job for job in jobs if not record_of(job.folder, job.number).exists()]
    done = len(jobs) - len(missing)
    if done:
        report(f"{jobs[0].corpus.spec}: {done} of {len(jobs)} shards are there already")
    began = time.monotonic()
    size = 0
    for written in _run(missing):
        done += 1
        size += written
        rate = size / 1e6 / (time.monotonic() - began)
        report(
            f"{jobs[0].corpus.spec}: tokenized {done} of {len(jobs)} shards, "
            f"{size / 1e6:,.1f} MB of text at {rate:,.1f} MB/s"
        )


def _run(jobs: list[ShardJob]) -> Iterator[int]:
    """Write shards, in processes if there are several; yields the bytes of each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    workers = min(cores or 1, len(jobs))
    if workers < 2:
        yield from (write_shard(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_die_with_parent) as pool:
        futures = [pool.submit(write_shard, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except ValueError as error:
            # Raised again here, so that it counts as ours and not as the pool's.
            raise UserError(str(error)) from error
        except BrokenProcessPool as error:
            raise UserError(
                f"data.sources={jobs[0].corpus.spec!r} must fit in memory {workers} shards at a "
                "time, because as many processes tokenize, but one of them was killed; try again "
                "with more memory: finished shards are kept"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _die_with_parent() -> None:
    """End this worker when its parent does, even by a signal that cannot be caught."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _finish(folder: Path, corpus: Corpus, count: int, kind: str) -> None:
    """Write the manifest; ValueError if the corpus holds no text."""
    records = [json.loads(record_of(folder, number).read_text()) for number in range(count)]
    if not any(record[split]["tokens"] for record in records for split in SPLITS):
        raise UserError(
            f"data.sources={corpus.spec!r} must hold text, because rows are cut from it, but "
            f"its {len(corpus.files)} file{'s are' if len(corpus.files) != 1 else ' is'} empty; "
            "try another path"
        )
    manifest = {
        "format": FORMAT,
        "source": corpus.spec,
        "type": kind,
        "splits": {split: [record[split] for record in records] for split in SPLITS},
        "text": [record["text"] for record in records if "text" in record],
    }
    durable.write(folder / MANIFEST, json.dumps(manifest))
