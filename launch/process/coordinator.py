"""Where process 0 listens for its peers: on one interface if that is safe; over mTLS if asked."""

import errno
import inspect
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data import system
from data.errors import UserError

MOST_PORT = 65_535
HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]")


def bind_address(coordinator: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """ADDRESS:PORT on which process 0 listens, so that no other interface of its machine does.

    That is the address which the coordinator's name means to everybody. None, for all interfaces,
    which is printed, where that cannot be known: the name leads to several addresses, to none of
    this machine (behind NAT or a service), or to loopback here alone. JAX_COORDINATOR_BIND_ADDRESS
    wins.
    """
    if address := environment.get("JAX_COORDINATOR_BIND_ADDRESS"):
        return address
    host, _, port = coordinator.rpartition(":")
    address, why = _own_address(host.strip("[]"), int(port))
    if address is None:
        print(
            f"the coordinator listens on all interfaces, port {port}, because {why}; "
            "let a firewall keep others out, or set JAX_COORDINATOR_BIND_ADDRESS"
        )
        return None
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _own_address(host: str, port: int) -> tuple[str | None, str]:
    """The address of this machine that a name means everywhere, or None and why there is none."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return None, f"{host} cannot be looked up here: {error}"
    version_4 = [entry for entry in entries if entry[0] == socket.AF_INET]
    address, *more = sorted({str(entry[4][0]) for entry in version_4 or entries})
    if more:
        return None, f"{host} has the addresses {', '.join([address, *more])}"
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback and not _says_loopback(host):
        return None, f"{host} is {address} here, and something else elsewhere"
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return None, f"{host} is {address}, which is not an address of this host"
    return address, ""


def tls_arguments(
    tls: tuple[str, str, str] | None, initialize: Callable[..., None]
) -> dict[str, Any]:
    """What `jax.distributed.initialize` takes for mTLS; ValueError if it has none, or on a file
    that cannot be read."""
    if tls is None:
        return {}
    if "mtls_cert_file" not in inspect.signature(initialize).parameters:
        import jax

        raise UserError(
            f"distributed.tls must be left out, because JAX {jax.__version__} has no mTLS between "
            "processes; try JAX 0.12 or newer, which needs Python 3.12"
        )
    for path in tls:
        try:
            system.require_regular(path)
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise UserError(
                f"distributed.tls={' '.join(tls)} must be three PEM files (certificate, key, "
                f"authority), because the processes prove themselves by them, but {path}: "
                f"{error.strerror}; try paths of this host"
            ) from error
    certificate, key, authority = tls
    return {"mtls_cert_file": certificate, "mtls_key_file": key, "mtls_ca_file": authority}


def check_address(coordinator: str) -> None:
    """Raise ValueError if it is not HOST:PORT."""
    host, _, port = coordinator.rpartition(":")
    numbered = re.fullmatch("[0-9]{1,5}", port) is not None and 0 < int(port) <= MOST_PORT
    if not numbered or not HOST.fullmatch(host):
        named = host or (coordinator if ":" not in coordinator else "")
        near = named if HOST.fullmatch(named) else "HOST"
        raise UserError(
            f"distributed.coordinator={coordinator!r} must be HOST:PORT with a port from 1 to "
            f"{MOST_PORT}, because process 0 listens there; "
            f"try --distributed.coordinator {near}:8476"
        )


def check_port_free(coordinator: str) -> None:
    """Raise ValueError if the coordinator's port is taken on this machine."""
    check_address(coordinator)
    host, _, port = coordinator.rpartition(":")
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", int(port)), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        if error.errno == errno.EACCES:
            raise UserError(
                f"distributed.coordinator={coordinator} must name a port that this user may "
                "listen on, because process 0 does, but that is refused; "
                f"try --distributed.coordinator {host}:8476"
            ) from error
        if error.errno != errno.EADDRINUSE:
            raise
        near = int(port) + 1 if int(port) < MOST_PORT else int(port) - 1
        raise UserError(
            f"distributed.coordinator={coordinator} must name a free port, because process 0 "
            f"listens there, but {port} is in use; "
            f"try --distributed.coordinator {host}:{near}"
        ) from error


def _says_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
