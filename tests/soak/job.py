"""A training job as the campaign sees it: started by its command line, watched from outside."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from etils import epath

ROOT = Path(__file__).resolve().parent.parent.parent
INJECT = Path(__file__).resolve().parent / "inject"
STEPS, EVERY = 40, 5
PRESET = os.environ.get("SOAK_PRESET", "tiny")
"""What the jobs train: `tiny`, a decoder, or `tiny-bert`, an encoder."""
OWN_FLAGS = {"tiny": "--model.num-kv-heads 2", "tiny-bert": "--model.dropout 0.1"}
FLAGS = (
    f"--model.num-layers 2 --model.embed-dim 32 --model.num-heads 2 {OWN_FLAGS[PRESET]} "
    "--model.head-dim 16 --model.mlp-dim 64 --data.sequence-length 128 --train.batch-size 64 "
    "--train.eval-batches 2 --train.eval-every 10 --train.log-every 1 --no-tensorboard "
    f"--train.steps {STEPS} --train.checkpoint.every-steps {EVERY} --train.checkpoint.keep-latest 3"
).split()
PATIENCE = 180.0
"""Seconds after which the campaign takes a job for one that will never end."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Processes of a job and devices of each; the bits of a run depend on both."""

    processes: int
    devices: int = 1

    def command(self, *words: str) -> list[str]:
        """Command line of `meshloom WORDS` in this layout."""
        start = [sys.executable, "-m", "launch"]
        if self.processes > 1:
            start += ["launch", "local", "--processes", str(self.processes)]
            start += ["--devices-per-process", str(self.devices)]
        return [*start, *words]


class SoakJob:
    """A started command with its descendants; its output goes into a file."""

    def __init__(self, command: list[str], output: Path, **variables: str) -> None:
        self.output = output
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1"}
        environment |= {"PYTHONPATH": f"{INJECT}{os.pathsep}{ROOT}"} | variables
        with output.open("ab") as file:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.began = time.monotonic()

    def trainers(self) -> list[psutil.Process]:
        """The processes that train, by process number; the launcher is not among them."""
        processes: dict[int, psutil.Process] = {}
        for process in self.tree():
            with contextlib.suppress(psutil.Error):
                index = process.environ().get("JAX_PROCESS_ID")
                if index is not None:
                    processes.setdefault(int(index), process)
        alone = [] if processes else self.tree()[:1]
        return alone + [processes[index] for index in sorted(processes)]

    def send(self, number: int) -> None:
        """Send a signal to the command itself, as a scheduler or a terminal does."""
        self._process.send_signal(number)

    def kill_all(self) -> None:
        """Kill -9 of the command and all its descendants."""
        while tree := self.tree():
            for process in tree:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self._process.poll()

    def wait(self, patience: float = PATIENCE) -> int:
        """The exit code; TimeoutError, after a kill, if it does not end."""
        try:
            return self._process.wait(patience)
        except subprocess.TimeoutExpired as error:
            for process in self.tree():
                with contextlib.suppress(psutil.Error):
                    process.send_signal(signal.SIGCONT)
            self.kill_all()
            raise TimeoutError(f"the job did not end; see {self.output}") from error

    def running(self) -> bool:
        return self._process.poll() is None

    def until(self, come: Callable[[], bool]) -> bool:
        """Wait until something has come, or the job has ended; whether it has come."""
        while not come():
            if not self.running() or time.monotonic() - self.began > PATIENCE:
                return come()
            time.sleep(0.01)
        return True

    def said(self) -> str:
        return self.output.read_text(errors="replace")

    def tree(self) -> list[psutil.Process]:
        """The command's processes that have not ended; the command itself comes first."""
        if self._process.poll() is not None and not psutil.pid_exists(self._process.pid):
            return []
        try:
            root = psutil.Process(self._process.pid)
            every = [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        return [process for process in every if alive(process)]


def alive(process: psutil.Process) -> bool:
    """Whether it has not ended; one that waits to be reaped has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def losses(run: Path) -> dict[int, float]:
    """Loss by step, as far as the run has written them."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return {}
    by_step = {}
    for line in path.read_bytes().splitlines():
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if "loss" in record:
                by_step[record["step"]] = record["loss"]
    return by_step


def newest_step(run: Path) -> int:
    """The last step the run has logged, 0 before its first."""
    return max(losses(run), default=0)


def newest_checkpoint(run: Path) -> int:
    """The newest step that is called a checkpoint; 0 if none is."""
    names = [path.name for path in (run / "checkpoints").glob("*")]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def began_at(said: str) -> int:
    """The step a resumed run says it continues from; 0 if it started afresh."""
    steps = re.findall(r"resuming from step (\d+)", said)
    return int(steps[-1]) if steps else 0


def arrays(run: Path, step: int = STEPS) -> dict[str, np.ndarray]:
    """Every stored array of a checkpoint by name, read by Orbax alone."""
    import jax
    import orbax.checkpoint as ocp

    def flat(tree: dict, prefix: str = "") -> dict[str, np.ndarray]:
        leaves: dict[str, np.ndarray] = {}
        for name, node in tree.items():
            inner = isinstance(node, dict)
            leaves |= flat(node, f"{prefix}{name}/") if inner else {prefix + name: np.asarray(node)}
        return leaves

    path = epath.Path(run / "checkpoints" / str(step) / "state")
    handler = ocp.PyTreeCheckpointHandler()
    with ocp.Checkpointer(handler) as reader:
        tree = handler.metadata(path).tree
        numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return flat(reader.restore(path, args=ocp.args.PyTreeRestore(restore_args=numpy)))


def difference(run: Path, straight: Path) -> str:
    """The first difference in losses or final arrays, bit for bit; empty if there is none."""
    ours, theirs = losses(run), losses(straight)
    if ours != theirs:
        steps = [s for s in sorted(ours.keys() | theirs.keys()) if ours.get(s) != theirs.get(s)]
        return f"loss of step {steps[0]}: {ours.get(steps[0])} for {theirs.get(steps[0])}"
    return different_arrays(run, straight)


def different_arrays(run: Path, straight: Path) -> str:
    """The first array of the final checkpoint that differs by a bit; empty if there is none."""
    left, right = arrays(run), arrays(straight)
    if left.keys() != right.keys():
        return f"other arrays: {sorted(left.keys() ^ right.keys())[:3]}"
    for name, array in left.items():
        if array.tobytes() != right[name].tobytes():
            return f"array {name} differs"
    return ""
