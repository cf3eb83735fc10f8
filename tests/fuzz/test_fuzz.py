"""A short form of tests/fuzz: commands end with words and a code of ours, whatever they read."""

import subprocess
import sys

from tests.command import ROOT


def test_no_input_is_a_crash_a_hang_or_a_silent_loss() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--inputs", "30", "--seed", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
