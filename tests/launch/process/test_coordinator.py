"""Where the coordinator listens, and who may talk to it: real sockets and real processes."""

import socket
import sys
from pathlib import Path

import jax
import pytest

from launch.cluster.local import LocalOptions, run_local
from launch.config import DistributedConfig
from launch.process.coordinator import bind_address, check_port_free, tls_arguments
from launch.process.distributed import Membership, detect
from tests.advice import followed
from tests.command import ROOT

HAS_TLS = jax.__version_info__ >= (0, 12)
# For 127.0.0.1, of an authority whose key nobody has; valid for a hundred years from 2026. Made
# once, as a machine need not have a program that makes them.
CERTIFICATES = [ROOT / "tests" / "mtls" / name for name in ("host.pem", "host.key", "ca.pem")]

LISTENS = """
import os, sys, time
from launch.process import distributed
from launch.config import DistributedConfig

tls = tuple(sys.argv[1:]) or None
distributed.start(DistributedConfig(start_timeout=60, tls=tls))
import jax
port = int(os.environ["JAX_COORDINATOR_ADDRESS"].rpartition(":")[2])
distributed.from_first_process(lambda: "met")
if jax.process_index() == 0:
    listening = []
    for table in ("tcp", "tcp6"):
        for line in open(f"/proc/net/{table}").read().splitlines()[1:]:
            local, _, state = line.split()[1:4]
            if state == "0A" and int(local.split(":")[1], 16) == port:
                listening.append(f"{table} {local.split(':')[0]}")
    print("listening on", *listening, flush=True)
distributed.from_first_process(lambda: "seen")
"""


@pytest.mark.parametrize(
    ("coordinator", "address"),
    [
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("localhost:80", "127.0.0.1:80"),
        ("[::1]:80", "[::1]:80"),
    ],
)
def test_an_address_of_this_host_is_bound_in_silence(
    coordinator: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bind_address(coordinator, {}) == address
    assert capsys.readouterr().out == ""


def test_all_interfaces_are_said_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(coordinator: str) -> str:
        assert bind_address(coordinator, {}) is None
        return capsys.readouterr().out

    text = said("192.0.2.1:80")
    assert "on all interfaces, port 80" in text and "not an address of this host" in text
    assert "cannot be looked up" in said("no-such-host.invalid:80")
    answers: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[tuple]:
        return [(socket.AF_INET, 1, 6, "", (answer, port)) for answer in answers]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    answers[:] = ["127.0.1.1"]
    assert "node1 is 127.0.1.1 here, and something else elsewhere" in said("node1:80")
    answers[:] = ["127.0.0.1", "127.0.0.2"]
    assert "has the addresses 127.0.0.1, 127.0.0.2" in said("node1:80")


def test_the_user_has_the_last_word_on_the_interface() -> None:
    assert bind_address("node:80", {"JAX_COORDINATOR_BIND_ADDRESS": "[::]:80"}) == "[::]:80"


def listening(script: Path, capfd: pytest.CaptureFixture[str], *files: Path) -> str:
    code = run_local([sys.executable, str(script), *map(str, files)], LocalOptions())
    shown = capfd.readouterr()
    assert code == 0, shown
    return next(line for line in shown.out.splitlines() if line.startswith("listening on"))


# As IPv4, and as IPv6 writes it.
LOOPBACK = ("listening on tcp 0100007F", "listening on tcp6 0000000000000000FFFF00000100007F")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "listens.py"
    path.write_text(LISTENS)
    return path


def test_a_stranger_on_another_interface_finds_no_coordinator(
    script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert listening(script, capfd) in LOOPBACK


def test_processes_meet_over_mtls_where_jax_has_it(
    script: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    if HAS_TLS:
        assert listening(script, capfd, *CERTIFICATES) in LOOPBACK
    else:
        with pytest.raises(ValueError, match=r"distributed.tls must be left out, because JAX 0\."):
            tls_arguments(("a", "b", "c"), jax.distributed.initialize)


def test_mtls_files_must_be_there(tmp_path: Path) -> None:
    def initialize(mtls_cert_file: str | None = None) -> None: ...

    with pytest.raises(ValueError, match=r"key.pem: No such file"):
        here = tmp_path / "cert.pem"
        here.touch()
        tls_arguments((str(here), str(tmp_path / "key.pem"), str(here)), initialize)
    assert tls_arguments(None, initialize) == {}


def test_port_in_use_is_refused_and_a_free_port_is_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ValueError, match=f"{port} is in use; try .*:{port + 1}"):
            check_port_free(f"127.0.0.1:{port}")
    check_port_free(f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["host", "host:", ":80", "host:port", "host:99999"])
def test_coordinator_must_be_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT"):
        check_port_free(address)


@pytest.mark.parametrize(
    "address", ["host", "host:", ":80", "host:0", "host:65536", "a b:80", "host:٣", "::1:x"]
)
def test_every_process_refuses_a_coordinator_without_host_or_port(address: str) -> None:
    def join(words: list[str]) -> Membership | None:
        return detect(DistributedConfig(coordinator=words[1], num_processes=2, process_id=1), {})

    (message,) = followed(join, ["--distributed.coordinator", address])
    assert message.startswith(f"distributed.coordinator={address!r} must be HOST:PORT")
    for good in ("host:1", "10.0.0.1:65535", "[::1]:8476", "a_b.c:80"):
        assert join(["--distributed.coordinator", good]) == Membership("explicit", good, 2, 1)
