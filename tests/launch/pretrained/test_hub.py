"""Names of a hub: the cache without a network, and the library's own client against a server."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from launch.pretrained import hub
from launch.run.source import as_before
from tests.command import ROOT
from tests.oracles.published.models import checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "somebody/tiny-llama"
CODE = """
import sys
from launch.pretrained.checkpoint import absolute, open_pretrained
spec = absolute(sys.argv[1])
print(spec, open_pretrained(spec).digest)
"""


def asked(spec: str, cache: Path, endpoint: str, *, offline: bool = False) -> str:
    """The pinned spec and the digest of what it opens, or the error, of a process of its own."""
    environment = os.environ | {
        "HF_HUB_CACHE": str(cache),
        "HF_ENDPOINT": endpoint,
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    words = [sys.executable, "-c", CODE, spec]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    return done.stdout or done.stderr.splitlines()[-1]


def files(folder: Path) -> dict[str, bytes]:
    """A repository with more than is wanted."""
    checkpoint("llama2", folder)
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    return kept | {
        "tokenizer.json": b"{}",
        "pytorch_model.bin": b"a pickle",
        "modeling_llama.py": b"import os",
        "onnx/model.onnx": b"another form",
        "README.md": b"words",
    }


def laid(cache: Path, contents: dict[str, bytes]) -> Path:
    """The cache as the library lays it out."""
    place = cache / "models--somebody--tiny-llama"
    snapshot = place / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(COMMIT)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (snapshot / name).write_bytes(contents[name])
    return snapshot


def entry(name: str, data: bytes) -> dict[str, object]:
    """A file as the hub lists it."""
    digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": name, "size": len(data), "oid": digest}


@contextmanager
def server(contents: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A hub of one repository: what a revision is, what files it has, and those files. Yields its
    address and what is asked of it."""
    requests: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            requests.append(f"{self.command} {path}")
            data = contents.get(path.removeprefix(f"/{NAME}/resolve/{COMMIT}/"))
            if path in (f"/api/models/{NAME}", f"/api/models/{NAME}/revision/main"):
                data = json.dumps({"id": NAME, "sha": COMMIT, "siblings": []}).encode()
            elif path == f"/api/models/{NAME}/tree/{COMMIT}":
                data = json.dumps([entry(*each) for each in contents.items()]).encode()
            self.send_response(404 if data is None else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(data or b"").hexdigest()}"')
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data or b"")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as listening:
        thread = Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}", requests
        listening.shutdown()
        thread.join()


def test_what_is_wanted_is_fetched_once_and_no_pickle(tmp_path: Path) -> None:
    contents, cache = files(tmp_path / "files"), tmp_path / "cache"
    with server(contents) as (address, requests):
        first = asked(f"hf:{NAME}", cache, address)
        assert first.startswith(f"hf:{NAME}@{COMMIT} ")
        fetched = {r.rpartition("/")[2] for r in requests if r.startswith("GET") and "/res" in r}
        assert fetched == {"config.json", "model.safetensors", "tokenizer.json"}
        assert asked(f"hf:{NAME}", cache, address) == first
        assert len([r for r in requests if r.startswith("GET") and "/res" in r]) == len(fetched)
        seen = len(requests)
        assert asked(f"hf:{NAME}@main", cache, address, offline=True) == first
        assert asked(f"hf:{NAME}@{COMMIT}", cache, address) == first
        assert len(requests) == seen
        error = asked("hf:somebody/nothing", cache, address)
        assert "must be a folder, or the name of a checkpoint that is cached or can be" in error
        del contents["model.safetensors"]
        error = asked(f"hf:{NAME}", tmp_path / "other", address)
    assert "must have model.safetensors, or model.safetensors.index.json, because other" in error


def test_a_cache_of_others_is_used_without_a_network(tmp_path: Path) -> None:
    folder = laid(tmp_path, files(tmp_path / "files"))
    for offline in (True, False):
        line = asked(f"hf:{NAME}", tmp_path, "http://127.0.0.1:9", offline=offline)
        assert line.startswith(f"hf:{NAME}@{COMMIT} ")
    (folder / "model.safetensors").unlink()
    error = asked(f"hf:{NAME}", tmp_path, "http://127.0.0.1:9")
    assert error.startswith("data.errors.UserError: start_from=hf:somebody/tiny-llama must ")


@pytest.mark.parametrize("where", ["a/b", "a/b@main", "Org-1/x.y_z@refs/pr/1"])
def test_names_are_told_from_paths(where: str, tmp_path: Path) -> None:
    assert hub.is_name(where)
    for other in (f"./{where}", f"/{where}", f"~/{where}", f"x/{where}", "a", "../b"):
        assert not hub.is_name(other)


def test_a_run_that_goes_on_keeps_its_commit() -> None:
    before = f"hf:{NAME}@{COMMIT}"
    for spec in (f"hf:{NAME}", f"hf:{NAME}@main", before):
        assert as_before(spec, before) == before
    for spec in ("hf:a/b", f"hf:{NAME}@{'1' * 40}", "gguf:a.gguf", "run"):
        assert as_before(spec, before) == spec
