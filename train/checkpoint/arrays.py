"""Arrays on disk, by Orbax, which is imported here alone and at the first save or restore.

Its classic interface: the newer `orbax.checkpoint.v1` is a layer over it, still declared unstable,
and no faster.
"""

import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from train.checkpoint.tree import named_leaves, nested

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

LONGEST_SAVE = 24 * 3600  # seconds; the watchdog reports a save that hangs long before
# Bytes of the parts into which replicas cut an array to write it together. If parts were smaller,
# one writes it alone: to cut, each device compiles a program for every shape and place.
SMALLEST_PART = 2**20


def writer() -> "ocp.AsyncCheckpointer":
    """What `save` needs; it must be closed."""
    import orbax.checkpoint as ocp

    # Orbax logs a failed save once from each of its threads and tasks, with traceback; we raise it.
    logging.getLogger("absl").addFilter(_is_not_orbax_error)
    logging.getLogger("asyncio").addFilter(_was_retrieved)
    arrays = ocp.type_handlers.ArrayHandler(min_slice_bytes_for_replica_parallel=SMALLEST_PART)
    registry = ocp.type_handlers.create_type_handler_registry((jax.Array, arrays))
    handler = ocp.PyTreeCheckpointHandler(type_handler_registry=registry)
    return ocp.AsyncCheckpointer(handler, timeout_secs=LONGEST_SAVE)


def save(writer: "ocp.AsyncCheckpointer", path: Path, leaves: Mapping[str, jax.Array]) -> None:
    """Copy the arrays and begin to write them; `writer.wait_until_finished()` waits for the end."""
    import orbax.checkpoint as ocp

    writer.save(path, args=ocp.args.PyTreeSave(nested(leaves)))


def restore(path: Path, wanted: Mapping[str, Any], *, partial: bool) -> dict[str, Any]:
    """Read arrays by name into the shapes of `wanted`; `partial` if the checkpoint has more."""
    import orbax.checkpoint as ocp

    target = nested(wanted)
    args = ocp.args.PyTreeRestore(
        target,
        restore_args=ocp.checkpoint_utils.construct_restore_args(target),
        partial_restore=partial,
    )
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        return named_leaves(reader.restore(path, args=args))


def written_by(name: str) -> int:
    """Process that wrote a file of a checkpoint: each has a folder of its own, the rest is 0's."""
    owner = re.search(r"(?:^|/)ocdbt\.process_(\d+)/", name)
    return int(owner[1]) if owner else 0


def cause(error: Exception) -> str:
    """What the operating system said, else the first line of what Orbax says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + (f": {error.filename}" if error.filename else "")
    text = str(error).strip() or type(error).__name__
    number = re.search(r"os_error_code='?(\d+)", text)
    return os.strerror(int(number[1])) if number else text.splitlines()[0][:300]


def _is_not_orbax_error(record: logging.LogRecord) -> bool:
    return not (record.levelno == logging.ERROR and "orbax" in record.pathname)


def _was_retrieved(record: logging.LogRecord) -> bool:
    return "exception was never retrieved" not in record.getMessage()
