"""Submits a batch script to Slurm; a script that Slurm refuses leaves nothing behind."""

import contextlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError


def require_sbatch(*, dry_run: bool) -> None:
    """Raise ValueError if the job could not be submitted; called before anything is written."""
    if not dry_run and shutil.which("sbatch") is None:
        raise UserError(
            "sbatch must be on PATH, because it takes the job; try on a login node of the cluster, "
            "or --dry-run to see the script"
        )


def submit(
    script: str, base: Path, logs: str, folders: Sequence[Path], created: Sequence[Path] = ()
) -> None:
    """Write the script into `base` and give it to Slurm, which writes to `logs` in each folder.

    ValueError if Slurm does not take it: an older script is put back, and new directories, among
    them those `created` for the job, are removed.
    """
    path = base / "job.sbatch"
    before = path.read_bytes() if path.is_file() else None
    new = {*created}
    for folder in folders:
        place = folder / "logs"
        new |= {each for each in (place, *place.parents) if not each.exists()}
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True)
    if done.returncode:
        if before is None:
            path.unlink()
        else:
            path.write_bytes(before)
        for place in sorted(new, reverse=True):
            with contextlib.suppress(OSError):  # what another has filled since stays
                place.rmdir()
        raise UserError(
            "sbatch must accept the script, because it takes the job, but it said:\n"
            f"{done.stderr.strip()}\ntry other flags, or --dry-run to see the script"
        )
    job = done.stdout.strip().partition(";")[0]
    print(f"job      {job} ({path})")
    print(f"log      {base / logs}/slurm-{job}.out")
    print(f"state    squeue --job {job}")
    print(f"to end   scancel {job}")
