"""A corpus by its entry of `data.sources`: which files it is, and a digest of their content."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from etils import epath

from data import durable, system
from data.cache import digest_of, is_remote, kept_in, local_cache, reachable
from data.config import CorporaConfig
from data.errors import UserError
from data.sources.compressed import CHUNK
from data.sources.source import Corpus


def open_corpus(spec: str, config: CorporaConfig, report: Callable[[str], None]) -> Corpus:
    """Find the files of a source and their digest; content is hashed when size or time changed."""
    source = config.source_of(spec)
    with system.usable(f"data.sources={spec!r}", "its text is needed", always=True):
        files = source.files(config.cache_dir, report)
        identity = source.identity()
        if not files and not identity:
            raise UserError(
                f"data.sources={spec!r} must match a file, because text comes from there, and "
                "there is none; try a path that `ls` shows"
            )
        stamps = [_stamp(file) for file in files]
        digest = (
            _content_digest(spec, files, stamps, config.cache_dir, report)
            if files
            else digest_of(*identity)
        )
    return Corpus(
        source=source,
        field=config.document_field if source.has_fields else "",
        files=tuple(files),
        sizes=tuple(size for size, _ in stamps),
        digest=digest,
        cache_dir=config.cache_dir,
    )


def _stamp(file: str) -> tuple[int, int]:
    """Size and time of last change."""
    if is_remote(file):
        with reachable(file):
            remote = epath.Path(file).stat()
        return remote.length, int(remote.mtime)
    local = system.require_regular(file)
    return local.st_size, local.st_mtime_ns


def _content_digest(
    spec: str,
    files: list[str],
    stamps: list[tuple[int, int]],
    cache_dir: str,
    report: Callable[[str], None],
) -> str:
    """Digest of the files' contents in order, remembered for as long as no stamp changes."""
    known = local_cache(cache_dir) / "digests" / digest_of(spec, files, stamps)
    with kept_in(cache_dir):
        if known.exists():
            return known.read_text()
    total = sum(size for size, _ in stamps)
    many = f"{len(files):,} file{'s' * (len(files) != 1)}"
    report(f"{spec}: hashing {many}, {total / 1e6:,.1f} MB")
    with ThreadPoolExecutor() as pool:
        digest = digest_of(*pool.map(_file_digest, files))
    try:
        with kept_in(cache_dir):
            known.parent.mkdir(parents=True, exist_ok=True)
            durable.write(known, digest)
    except ValueError as error:
        # A cache that others filled may be for reading alone, and hold the tokens.
        report(f"{spec}: hashed again the next time: {error}")
    return digest


def _file_digest(file: str) -> str:
    hashed = hashlib.sha256()
    try:
        with reachable(file), epath.Path(file).open("rb") as stream:
            while chunk := stream.read(CHUNK):
                hashed.update(chunk)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), file) from error
    return hashed.hexdigest()
