"""The local folder of a cache: where it is, and who may write to it."""

import fcntl
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data import system
from data.errors import UserError

if TYPE_CHECKING:
    from etils import epath

DEFAULT = "~/.cache/meshloom"
EXTRAS = {"gs": "gcs", "s3": "s3"}
KEPT = "the tokens are kept there"


def is_remote(path: str) -> bool:
    """Whether the path is a URL such as gs:// or s3://."""
    return re.match(r"[a-z0-9]+://", path) is not None


def remote_path(url: str) -> "epath.Path":
    """The path of a gs:// or s3:// URL; ValueError if what reaches it is not installed."""
    import fsspec
    from etils import epath

    scheme = url.partition("://")[0]
    if scheme not in EXTRAS:
        raise UserError(
            f"{url!r} must be a local path or begin with gs:// or s3://, because no other is read; "
            "try copying it to one of them"
        )
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        raise UserError(
            f"{url!r} must be reachable, because data lie there, but {error}; "
            f"try pip install -e '.[{EXTRAS[scheme]}]'"
        ) from error
    return epath.Path(url)


@contextmanager
def reachable(url: str) -> Iterator[None]:
    """Around what reads or writes a URL: whatever its library raises, such as for credentials that
    are missing, becomes a ValueError that names it. A local path passes as it is."""
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        if not is_remote(url):
            raise
        raise UserError(
            f"{url!r} must be reachable, because it is read or written here, but "
            f"{type(error).__name__}: {system.said(error)}; try checking the credentials, the "
            "region and the network of that storage"
        ) from error


def local_cache(cache_dir: str) -> Path:
    """The folder itself, or for a remote one the folder on this machine that mirrors it."""
    local = DEFAULT if is_remote(cache_dir) else cache_dir
    with system.usable(f"data.cache_dir={cache_dir!r}", KEPT):
        return Path(system.expanded("data.cache_dir", local)).absolute()


def digest_of(*parts: object) -> str:
    """Hex SHA-256 of the parts' text, in order."""
    text = "\0".join(str(part) for part in parts)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


@contextmanager
def locked(path: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file; the system frees it when its process ends, however that happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process that prepares {path.stem[:12]}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def kept_in(cache_dir: str) -> AbstractContextManager[None]:
    """Say which setting it is about when the cache cannot be read or written."""
    why = f"{KEPT}, and what is finished is taken up when it runs again"
    return system.usable(f"data.cache_dir={cache_dir!r}", why)
