"""A run on the workers of a TPU VM: the gcloud command that starts it on all of them."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from data.errors import UserError
from launch.cluster.training import Training, training
from launch.run.path import run_path

NAMES = {
    "name": (
        re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"),
        "1 to 63 small letters, digits and -, a letter first",
        "my-tpu",
    ),
    "zone": (
        re.compile(r"[a-z]+-[a-z]+[0-9]+-[a-z0-9]+"),
        "a region and the letter of a zone",
        "us-central2-b",
    ),
    "project": (
        re.compile(r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]"),
        "6 to 30 small letters, digits and -, a letter first",
        "my-project",
    ),
}


@dataclass(frozen=True, kw_only=True)
class TpuVmOptions:
    """Print the gcloud command that trains on every worker of a TPU VM, or run it.

    Each worker needs the checkout with its .venv; they share the run directory.

    After the flags come `train PRESET` and flags of it.
    """

    name: str
    """Name of the TPU VM, or the node of a queued resource."""
    zone: str
    """Zone it is in."""
    project: str | None = None
    """Project; gcloud's own if not given."""
    checkout: str = "meshloom"
    """The checkout on the workers; a relative path begins at the home directory."""
    run: bool = False
    """Run the command and wait for its end; its exit code is ours."""

    def __post_init__(self) -> None:
        for name, (pattern, words, example) in NAMES.items():
            value = getattr(self, name)
            if value is not None and not pattern.fullmatch(value):
                raise UserError(
                    f"{name}={value!r} must be {words}, because Google Cloud names things so; "
                    f"try --{name} {example}"
                )
        if not self.checkout or self.checkout.startswith(("~", "-")):
            raise UserError(
                f"checkout={self.checkout!r} must be a path from the home directory or from /, "
                "because the workers' shell goes there; try --checkout meshloom"
            )


def launch_tpu_vm(options: TpuVmOptions, command: Sequence[str]) -> int:
    """Print or run the command for `command` (train PRESET ...). Raises ValueError."""
    words = gcloud(options, training(command))
    if not options.run:
        print(shlex.join(words))
        return 0
    if shutil.which("gcloud") is None:
        raise UserError(
            "gcloud must be on PATH, because it reaches the workers; try installing the Google "
            "Cloud CLI, or without --run to see the command"
        )
    return subprocess.call(words)


def gcloud(options: TpuVmOptions, run: Training) -> list[str]:
    """The words of the command. Raises ValueError."""
    run_dir = run.options.run_dir
    if run_dir is None or not run_dir.is_absolute():
        raise UserError(
            f"run_dir={run_dir} must be an absolute path, because all workers must find the same "
            "directory; try --run-dir /mnt/runs/NAME where a bucket or a file share is mounted"
        )
    train = [".venv/bin/meshloom", *run.words]
    train += ["--run-dir", str(run_path("run_dir", run_dir)), *run.again.split()]
    # Without a TPU a worker must fail, not train on its CPU.
    inner = f"cd {shlex.quote(options.checkout)} && JAX_PLATFORMS=tpu,cpu {shlex.join(train)}"
    return [
        *("gcloud", "compute", "tpus", "tpu-vm", "ssh", options.name, f"--zone={options.zone}"),
        *([f"--project={options.project}"] if options.project else []),
        "--worker=all",
        f"--command={inner}",
    ]
