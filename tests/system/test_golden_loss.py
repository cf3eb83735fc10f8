"""The first losses of the preset `tiny`, held to those written down in golden/tiny.txt.

A change that is meant to change them writes them again with
`python -m tests.system.test_golden_loss`, run under the Python of the oldest pins, and says in its
pull request why they moved.
"""

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from tests.command import ROOT, meshloom, records

pytestmark = pytest.mark.usefixtures("optimized")

GOLDEN = ROOT / "tests" / "golden" / "tiny.txt"
# The real model on text that is the same on every machine; rows and batch are cut down.
WORDS = (
    "--data.sources synthetic:400000 --data.sequence-length 64 --train.batch-size 4 "
    "--train.steps 20 --train.log-every 1 --train.eval-batches 0 --no-tensorboard"
).split()
# Compilers and processors differ in the last bits, and 20 steps carry that on.
TOLERANCE = 1e-5


def first_losses(run: Path) -> list[float]:
    """Losses of 20 steps of `tiny`, trained in a process of its own."""
    meshloom("train", "tiny", *WORDS, "--run-dir", str(run))
    return [record["loss"] for record in records(run)]


def test_tiny_starts_with_the_losses_written_down(tmp_path: Path) -> None:
    golden = [float(line) for line in GOLDEN.read_text(encoding="utf-8").split()]
    assert len(golden) == 20
    np.testing.assert_allclose(first_losses(tmp_path / "run"), golden, rtol=TOLERANCE)


if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    with tempfile.TemporaryDirectory() as folder:
        actual = first_losses(Path(folder) / "run")
    GOLDEN.write_text("".join(f"{loss!r}\n" for loss in actual), encoding="utf-8")
