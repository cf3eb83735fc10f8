"""Words between the processes of a job, by JAX's coordination service.

Unlike a collective it may be used by any thread, and waits as long as the slowest needs.
"""

import json
from collections import Counter
from collections.abc import Callable

import jax
from jax._src import distributed

TIMEOUT = 3_600_000  # milliseconds; a peer that is gone ends this process long before

_calls: Counter[str] = Counter()


def judged(name: str, word: str, judge: Callable[[list[str]], str]) -> str:
    """What `judge`, called by process 0 with every process's `word`, returns; on all processes.

    Every process calls it, and calls of one `name` in the same order. What `judge` raises is a
    RuntimeError on the other processes.
    """
    if jax.process_count() == 1:
        return judge([word])
    client = distributed.global_state.client
    assert client is not None
    place = f"meshloom/{name}"
    here = f"{place}/{_calls[name]}"
    before = f"{place}/{_calls[name] - 1}"
    _calls[name] += 1
    if jax.process_index() > 0:
        client.key_value_set(f"{here}/{jax.process_index()}", word)
        failed, text = json.loads(client.blocking_key_value_get(f"{here}/verdict", TIMEOUT))
        if failed:
            raise RuntimeError(text)
        return text
    others = range(1, jax.process_count())
    words = [client.blocking_key_value_get(f"{here}/{other}", TIMEOUT) for other in others]
    # Who has come here has read the verdict before.
    client.key_value_delete(before)
    try:
        text = judge([word, *words])
    except Exception as error:
        client.key_value_set(f"{here}/verdict", json.dumps([True, str(error)]))
        raise
    client.key_value_set(f"{here}/verdict", json.dumps([False, text]))
    return text
