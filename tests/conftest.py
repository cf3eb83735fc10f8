"""Settings of every test: 8 virtual CPU devices, a compilation cache, shapes checked in model/."""

import fcntl
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import jaxtyping
import pytest
from hypothesis import settings

from tests.command import (
    COMPILED_QUICKLY,
    FORTY,
    ROOT,
    SMALL,
    arguments,
    compile_as_users_do,
    meshloom,
    train_until,
)

if TYPE_CHECKING:
    from launch.ladder.directory import StudyDirectory


# Set for the processes that tests start as well as for this one.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax-tests")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
# Compiling is most of what they cost, and of what this process does.
os.environ.update(COMPILED_QUICKLY)
# An array is never stretched over dimensions that it does not have.
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# Before any test imports them: modules of the model with shapes check these at every call, which
# costs the others, those that plans call ten thousand times, two thirds of their time.
SHAPES = re.compile(r"^from jaxtyping import .*\b(Bool|Float|Int)\b", re.MULTILINE)
jaxtyping.install_import_hook(
    [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "model").rglob("*.py")
        if SHAPES.search(path.read_text(encoding="utf-8"))
    ],
    "beartype.beartype",
)

# No deadline: how long an example takes is not what these tests hold.
settings.register_profile("meshloom", deadline=None, max_examples=50)
settings.load_profile("meshloom")


@pytest.fixture(scope="module")
def optimized() -> Iterator[None]:
    """Programs that this module's processes run are compiled as a user's are: for golden numbers,
    and for bits."""
    with pytest.MonkeyPatch.context() as patch:
        compile_as_users_do(patch)
        yield


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of pytest share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def trained_once(run: Path, train: Callable[..., object]) -> Path:
    """A run directory that the first worker to ask makes by `train`, and none changes: to go on
    with it, copy it."""
    with (run.parent / f"{run.name}.lock").open("w") as lock, pytest.MonkeyPatch.context() as patch:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not run.exists():
            compile_as_users_do(patch)
            train("tiny", *SMALL, *FORTY, "--run-dir", str(run))
    return run


@pytest.fixture(scope="session")
def finished(shared: Path) -> Path:
    """A run of 40 steps that nobody disturbed, saved each 10."""
    return trained_once(shared / "finished", lambda *words: meshloom("train", *words))


@pytest.fixture(scope="session")
def killed(shared: Path) -> Path:
    """The same run, killed with signal 9 soon after step 23."""
    return trained_once(shared / "killed", lambda *words: train_until(23, *words))


@pytest.fixture(scope="session")
def study(shared: Path) -> "StudyDirectory":
    """The study `smoke`, trained by two workers; the workers of pytest share it as ours do."""
    from launch.ladder.directory import open_study

    path = shared / "smoke"
    second = subprocess.Popen(arguments("ladder", "run", "smoke", "--dir", str(path)), cwd=ROOT)
    said = meshloom("ladder", "run", "smoke", "--dir", str(path)).stdout
    assert second.wait() == 0
    assert "4 of 4 cells are done" in said
    return open_study(path)
