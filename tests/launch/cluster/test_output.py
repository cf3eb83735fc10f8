"""What a process says, when its log cannot be written; and a process that waits for its disk."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.cluster.output import Output
from launch.cluster.pulse import Pulse
from tests.command import ROOT

# posix_spawn holds Python's lock, and its caller waits like one for a disk, till the file is open.
WAITS = """
import os, sys
action = (os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)
print("begins", flush=True)
os.posix_spawn("/bin/true", ["true"], {}, file_actions=[action])
sys.stdin.read()
"""


def test_log_on_a_full_disk_is_closed_and_reported_once(
    capfd: pytest.CaptureFixture[str],
) -> None:
    output = Output()
    output.keep_in(Path("/dev/full"))
    for text in (b"one\n", b"two\n"):
        output.feed(text)
    assert not output.keep_in(Path("/dev/full"))
    assert output.last_lines(2) == ["one", "two"]
    assert capfd.readouterr().out.count("No space left on device") == 1


def test_log_without_a_folder_is_reported_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "logs").touch()
    output = Output()
    output.feed(b"one\n")
    assert not output.keep_in(tmp_path / "logs" / "log")
    assert not output.keep_in(tmp_path / "logs" / "log")
    assert capfd.readouterr().out.count("a log is not kept") == 1
    assert output.keep_in(tmp_path / "log") and (tmp_path / "log").read_bytes() == b"one\n"
    output.close()


def test_wait_for_a_disk_is_not_standing_still(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "beat").write_text(json.dumps({"step": 1}))
    waits = [sys.executable, "-ISc", WAITS, str(tmp_path / "fifo")]
    with (
        subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        contextlib.ExitStack() as closing,
    ):
        closing.callback(process.kill)
        stat = Path(f"/proc/{process.pid}/stat")

        def state() -> str:
            return stat.read_text().rpartition(")")[2].split()[0]

        # Before, it may have waited for the disk that Python itself lies on.
        assert process.stdout is not None and process.stdout.readline() == b"begins\n"
        pulse = Pulse(tmp_path / "beat", process.pid, 0.0)
        pulse.look(0.0)
        while state() != "D":
            time.sleep(0.01)
        assert not any(pulse.trouble(float(now), 60.0) for now in range(100))
        (tmp_path / "fifo").write_bytes(b"")
        while state() != "S":
            time.sleep(0.01)
        assert any(pulse.trouble(float(now), 60.0) for now in range(100, 111))


@pytest.mark.parametrize("look", [("os.listdir", "os.scandir"), ("open",)], ids=["list", "read"])
def test_a_process_that_ends_while_it_is_looked_at_waits_for_nothing(look: tuple[str, ...]) -> None:
    program = (
        "import subprocess, sys\n"
        "from pathlib import Path\n"
        "from launch.cluster.pulse import Pulse\n"
        "process = subprocess.Popen(['cat'], stdin=subprocess.PIPE)\n"
        "def end(event, arguments):\n"
        f"    if event in {look} and str(arguments[0]).startswith(f'/proc/{{process.pid}}/task'):\n"
        "        process.communicate()\n"
        "sys.addaudithook(end)\n"
        "pulse = Pulse(Path('never-written'), process.pid, 0.0)\n"
        "assert process.returncode is None and pulse.trouble(50.0, 60.0) is None\n"
        "assert process.returncode == 0, 'it was not looked at'\n"
        "assert 'no sign of life' in str(pulse.trouble(61.0, 60.0))\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
