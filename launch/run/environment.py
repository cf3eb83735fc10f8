"""Versions and platform of a start, which say later how a run came about."""

import contextlib
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

from launch.checkout import ROOT

PACKAGES = (
    "meshloom jax jaxlib flax optax orbax-checkpoint grain numpy tensorstore tokenizers "
    "tensorflow-datasets libtpu jax-cuda12-plugin jax-cuda13-plugin"
).split()


def versions() -> dict[str, str]:
    """Those of the packages that are installed."""
    installed = {}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            installed[package] = metadata.version(package)
    return installed


def environment() -> dict[str, Any]:
    """Versions, platform and command; no names of users or hosts, no variables."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions(),
        "git_revision": _git_revision(),
        "command": ["meshloom", *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _git_revision() -> str | None:
    """Commit this code runs from, with `-dirty` if it was changed since; None without git."""
    try:
        result = subprocess.run(
            ["git", "-C", str(ROOT), *"describe --always --dirty --abbrev=40 --exclude=*".split()],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None
