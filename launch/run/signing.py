"""The key that signs checkpoints, from a file that an environment variable names."""

import os
from collections.abc import Mapping
from pathlib import Path

from data import system
from data.errors import UserError

VARIABLE = "MESHLOOM_CHECKPOINT_KEY_FILE"
SHORTEST = 32  # bytes, as many as SHA-256 gives


def signing_key(environment: Mapping[str, str] = os.environ) -> bytes | None:
    """The bytes of the key file, None if the variable is not set.

    Raises ValueError if the file cannot be read, is too short, or may be read by everybody.
    """
    name = environment.get(VARIABLE)
    if not name:
        return None
    path = Path(name)
    try:
        mode = system.require_regular(path).st_mode
        key = path.read_bytes().strip()
    except OSError as error:
        raise UserError(
            f"{VARIABLE}={name} must name a readable file, because checkpoints are signed with "
            f"its content, but: {error.strerror}; try a file of {SHORTEST} random bytes or more"
        ) from error
    if len(key) < SHORTEST:
        raise UserError(
            f"{VARIABLE}={name} must hold {SHORTEST} bytes or more, because a short key is "
            f"guessed, but it has {len(key)}; try: openssl rand -hex 32 > {name}"
        )
    if mode & 0o007:
        raise UserError(
            f"{VARIABLE}={name} must not be open to everybody, because who has the key can sign, "
            f"but its mode is {mode & 0o777:o}; try: chmod 600 {name}"
        )
    return key
