"""Where the cache is, and taking turns in it."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from data.cache import digest_of, is_remote, kept_in, local_cache, locked, remote_path


def test_digest_separates_its_parts() -> None:
    assert digest_of("ab", "c") != digest_of("a", "bc")


def test_remote_caches_are_mirrored_at_home(tmp_path: Path) -> None:
    assert is_remote("gs://bucket/cache") and is_remote("s3://bucket")
    assert not is_remote("/tmp/gs:/x") and not is_remote("relative")
    assert local_cache(str(tmp_path)) == tmp_path
    assert local_cache("s3://bucket") == Path.home() / ".cache" / "meshloom"


def test_remote_paths_say_what_to_install() -> None:
    with pytest.raises(ValueError, match=r"'gs://b/a' must be .* try pip install -e '\.\[gcs\]'"):
        remote_path("gs://b/a")
    with pytest.raises(ValueError, match=r"'http://b/a' must be a local path or begin with gs://"):
        remote_path("http://b/a")


def test_a_killed_holder_frees_the_lock(tmp_path: Path) -> None:
    lock = tmp_path / "abc.lock"
    code = (
        "import sys, time, pathlib; from data.cache import locked\n"
        "with locked(pathlib.Path(sys.argv[1]), print):\n"
        "    print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(lock)]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def waiting(line: str) -> None:
            lines.append(line)
            holder.kill()

        with locked(lock, waiting):
            assert lines == ["waiting for another process that prepares abc"]


def test_a_full_disk_names_the_setting() -> None:
    with (
        pytest.raises(
            ValueError,
            match=r"data\.cache_dir='/there' must .* the tokens .* No space .*; try making room",
        ),
        kept_in("/there"),
        open("/dev/full", "wb", buffering=0) as full,
    ):
        full.write(b"x")


def test_other_system_errors_pass() -> None:
    with pytest.raises(OSError, match="Input/output"), kept_in("/there"):
        raise OSError(errno.EIO, "Input/output error")
