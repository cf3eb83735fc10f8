"""What the processes of a job tell each other beside the steps: keys, barriers, a common end."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

ASK_AGAIN = 600  # seconds of one request that waits for a key


class Coordination:
    """The key-value store and the barriers of the coordinator, for any thread at any time.

    JAX has no public name for them, and a collective on the devices would wait behind the steps.
    Every call raises ConnectionError if the coordinator, or a process that is waited for, is gone.
    """

    def __init__(self) -> None:
        from jax._src import distributed

        client = distributed.global_state.client
        assert client is not None
        self._client: Any = client
        self.is_first = jax.process_index() == 0

    def set(self, key: str, value: str) -> None:
        """Set a key; one that is set already stays as it is."""
        with self._errors():
            try:
                self._client.key_value_set(key, value)
            except jax.errors.JaxRuntimeError as error:
                if "ALREADY_EXISTS" not in str(error):
                    raise

    def get(self, key: str) -> str:
        """The value of a key, once it has one."""
        with self._errors():
            while True:
                try:
                    return self._client.blocking_key_value_get(key, ASK_AGAIN * 1000)
                except jax.errors.JaxRuntimeError as error:
                    if "DEADLINE_EXCEEDED" not in str(error):
                        raise

    def publish(self, folder: str, value: str) -> None:
        """Set this process's key of a folder."""
        self.set(f"{folder}/{jax.process_index()}", value)

    def withdraw(self, folder: str) -> None:
        """Delete this process's key of a folder."""
        with self._errors():
            self._client.key_value_delete(f"{folder}/{jax.process_index()}")

    def published(self, folder: str) -> list[str]:
        """What all processes have published in a folder."""
        with self._errors():
            return [value for _, value in self._client.key_value_dir_get(folder)]

    def barrier(self, name: str, seconds: int) -> None:
        """Wait until all processes are here; each name once."""
        with self._errors():
            self._client.wait_at_barrier(name, seconds * 1000)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except jax.errors.JaxRuntimeError as error:
            raise ConnectionError(str(error)) from error


def coordination() -> Coordination | None:
    """How this process talks to the others of its job; None on its own."""
    return Coordination() if jax.process_count() > 1 else None


def part(seconds: int) -> None:
    """Leave the job together with the other processes, so that the end of none disturbs another.

    JAX itself waits for seconds only, as its wait must also end where a process has failed.
    """
    if (job := coordination()) is not None:
        job.barrier("meshloom/part", seconds)
        jax.distributed.shutdown()
