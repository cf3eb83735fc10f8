"""What the processes of a job agree on apart from the steps, by JAX's coordination service.

Unlike a collective on the devices it may be used by any thread at any time, waits for no step, and
waits as long as the slowest process needs. JAX has no public name for it; this is the only place
that uses it. A coordinator, or a process that is waited for, that is gone is a JaxRuntimeError.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import jax

from data.errors import UserError

ASK_AGAIN = 600  # seconds of one request that waits for a key
READ = 20  # seconds for the other processes to read why process 0 fails

_calls: Counter[str] = Counter()


def is_first() -> bool:
    """Whether this process is process 0, which prints and writes for all."""
    return jax.process_index() == 0


def decided(name: str, decide: Callable[[list[str]], str], word: str = "") -> str:
    """What `decide`, called by process 0 with the `word` of every process, returns; on all of them.

    Every process calls it, and calls of one `name` in the same order. A UserError of `decide` is
    one on all processes; any other exception is a RuntimeError on those that did not call it.
    """
    job = coordination()
    if job is None:
        return decide([word])
    place, before = f"meshloom/{name}/{_calls[name]}", f"meshloom/{name}/{_calls[name] - 1}"
    _calls[name] += 1
    if not job.is_first:
        job.publish(place, word)
        kind, text = json.loads(job.get(f"{place}/decision"))
        if kind == "decided":
            return text
        job.barrier(f"{place}/read", READ)
        raise UserError(text) if kind == "refused" else RuntimeError(text)
    words = [word, *(job.get(f"{place}/{other}") for other in range(1, jax.process_count()))]
    # A process that calls again has read the decision before.
    job.delete(before)
    try:
        text = decide(words)
    except Exception as error:
        refused = isinstance(error, UserError)
        text = str(error) if refused else f"process 0 failed, by {type(error).__name__}: {error}"
        job.set(f"{place}/decision", json.dumps(["refused" if refused else "failed", text]))
        # The end of this process must not come before the others have read that.
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            job.barrier(f"{place}/read", READ)
        raise
    job.set(f"{place}/decision", json.dumps(["decided", text]))
    return text


def coordination() -> "Coordination | None":
    """How this process talks to the others of its job; None if there are none."""
    return Coordination() if jax.process_count() > 1 else None


class Coordination:
    """The key-value store and the barriers of the coordinator."""

    def __init__(self) -> None:
        from jax._src import distributed

        client = distributed.global_state.client
        assert client is not None
        self._client: Any = client
        self.is_first = is_first()

    def set(self, key: str, value: str) -> None:
        """Set a key; one that is set already stays as it is."""
        try:
            self._client.key_value_set(key, value)
        except jax.errors.JaxRuntimeError as error:
            if "ALREADY_EXISTS" not in str(error):
                raise

    def get(self, key: str) -> str:
        """The value of a key, once it has one."""
        while True:
            try:
                return self._client.blocking_key_value_get(key, ASK_AGAIN * 1000)
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise

    def delete(self, key: str) -> None:
        """Delete a key, and all below it."""
        self._client.key_value_delete(key)

    def publish(self, folder: str, value: str) -> None:
        """Set this process's key of a folder."""
        self.set(f"{folder}/{jax.process_index()}", value)

    def withdraw(self, folder: str) -> None:
        """Delete this process's key of a folder."""
        self.delete(f"{folder}/{jax.process_index()}")

    def published(self, folder: str) -> list[str]:
        """The values that the processes have published in a folder."""
        return [value for _, value in self._client.key_value_dir_get(folder)]

    def barrier(self, name: str, seconds: int) -> None:
        """Wait until all processes are here; each name once."""
        self._client.wait_at_barrier(name, seconds * 1000)
