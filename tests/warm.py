"""Command lines in processes that are forked from one which has imported all that they import.

Importing is half of what a small training costs. `python -m tests.warm serve SOCKET` imports once
and forks a process for each request; `python -IS tests/warm.py WORDS` is `meshloom WORDS` in such a
process, with this one's streams, directory, variables and exit code; a signal is passed on, and it
dies when this one does. What is changed before it imports is started without it.
"""

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

SOCKET = "MESHLOOM_TESTS_WARM"
"""The variable that names the server's socket."""
READ_AT_IMPORT = ("JAX_", "XLA_", "PYTHON", "TF_", "LD_")
"""What begins so is read when modules are imported; with other values a process starts afresh."""
NOT_READ_AT_IMPORT = (
    "JAX_COORDINATOR_ADDRESS",
    "JAX_NUM_PROCESSES",
    "JAX_PROCESS_ID",
    "XLA_FLAGS",
)
SET_AFTERWARDS = {"JAX_DISABLE_MOST_OPTIMIZATIONS": 0, "JAX_NUM_CPU_DEVICES": -1}
"""But for these, which JAX lets one set until it compiles; with the value that stands for none."""


def run(words: list[str]) -> int:
    """`meshloom WORDS` in a process of the server's; its exit code."""
    request = {"words": words, "directory": os.getcwd(), "variables": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ[SOCKET])
        socket.send_fds(server, [json.dumps(request).encode() + b"\n"], [0, 1, 2])
        answer = server.makefile()
        begun = answer.readline().strip()
        if begun == "imported otherwise":
            os.execv(sys.executable, [sys.executable, "-m", "launch", *words])
        for number in signal.SIGTERM, signal.SIGINT, signal.SIGUSR1:
            signal.signal(number, lambda number, _: os.kill(int(begun), number))
        return int(answer.read() or 70)


def serve(path: str) -> None:
    """Fork a process for each request until stdin ends; one whose client is gone is killed."""
    import selectors

    _import_what_commands_import()
    assert len(os.listdir("/proc/self/task")) == 1, "a thread would be missing after a fork"
    ready = selectors.DefaultSelector()
    running: dict[socket.socket, int] = {}
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(64)
        ready.register(server, selectors.EVENT_READ)
        ready.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            for key, _ in ready.select():
                if key.fileobj is sys.stdin:
                    return
                if key.fileobj is server:
                    client, _ = server.accept()
                    if (pid := _fork(client)) is not None:
                        running[client] = pid
                        ready.register(os.pidfd_open(pid), selectors.EVENT_READ, client)
                        ready.register(client, selectors.EVENT_READ)
                elif isinstance(key.fileobj, socket.socket):
                    if key.fileobj in running:  # else its process ended in the same round
                        ready.unregister(key.fileobj)
                        os.kill(running[key.fileobj], 9)
                else:
                    ready.unregister(key.fileobj)
                    os.close(key.fd)
                    client = key.data
                    status = os.waitstatus_to_exitcode(os.waitpid(running.pop(client), 0)[1])
                    if client in ready.get_map():
                        ready.unregister(client)
                        _answer(client, str(status if status >= 0 else 128 - status))
                    client.close()


def _fork(client: socket.socket) -> int | None:
    """The process that runs the client's request; None if it needs imports of its own."""
    content, streams, _, _ = socket.recv_fds(client, 1 << 22, 3)
    more = content
    while more and not content.endswith(b"\n"):
        more = client.recv(1 << 22)
        content += more
    if not more:  # the client is gone already
        client.close()
        for stream in streams:
            os.close(stream)
        return None
    request = json.loads(content)
    pid = None
    if _read_at_import(request["variables"]) != _read_at_import(os.environ):
        _answer(client, "imported otherwise\n")
        client.close()
    elif (pid := os.fork()) == 0:
        _become(request, streams)
    else:
        _answer(client, f"{pid}\n")
    for stream in streams:
        os.close(stream)
    return pid


def _answer(client: socket.socket, text: str) -> None:
    """Say it to a client, which tests may have killed."""
    with contextlib.suppress(ConnectionError):
        client.sendall(text.encode())


def _read_at_import(variables: "os._Environ[str] | dict[str, str]") -> dict[str, str]:
    return {
        name: value
        for name, value in variables.items()
        if name.startswith(READ_AT_IMPORT) and name not in (*NOT_READ_AT_IMPORT, *SET_AFTERWARDS)
    }


def _become(request: dict, streams: list[int]) -> None:
    code = 70
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(3, 256)
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["variables"])
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", 1, errors="backslashreplace", closefd=False)
        import jax

        from launch import __file__ as package
        from launch.cli import program

        for name, default in SET_AFTERWARDS.items():
            value = int(request["variables"].get(name, default))
            jax.config.update(name.lower(), bool(value) if default == 0 else value)

        sys.argv = [str(Path(package).parent / "__main__.py"), *request["words"]]
        program(request["words"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        for stream in sys.stdout, sys.stderr:
            stream.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
    os._exit(code)


def _import_what_commands_import() -> None:
    import importlib
    import pkgutil

    import grain  # noqa: F401
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import orbax.checkpoint  # noqa: F401

    # pyarrow is not among them, as it begins a thread.
    for room in ("model", "data", "train", "launch"):
        for module in pkgutil.walk_packages([room], f"{room}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(run(sys.argv[1:]))
