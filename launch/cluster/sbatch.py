"""Batch scripts of Slurm: written, and submitted; one that Slurm refuses leaves nothing behind."""

import contextlib
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import UserError
from launch.checkout import ROOT
from launch.cluster.slurm_options import SlurmOptions
from launch.exit_codes import DONE, REFUSED, STOPPED, USAGE

# Slurm reads quotes, blanks and % in its own way in `#SBATCH` lines.
PLAIN_PATH = re.compile(r"[\w./@+=:,~-]+")

NEWEST = r"""
newest_checkpoint() {
  ls "$run/checkpoints" 2>/dev/null | grep -xE '[0-9]+' | sort -n | tail -n 1
}
"""
STEP = r"""
# USR1 comes before the time limit, to this shell alone. TERM (scancel, preemption) reaches the
# tasks by itself, and srun would kill them if it were passed on.
near_limit= ended=
trap 'near_limit=1; kill -USR1 "$step" 2>/dev/null' USR1
trap 'ended=1' TERM

# srun's own errors would end with 1, as if the run had refused.
export SLURM_EXIT_ERROR=71
# A task that failed ends its peers itself within a minute; what is left then is killed.
srun --label --kill-on-bad-exit=0 --wait=60 SRUN_FLAGS"${train[@]}" &
step=$!
while kill -0 "$step" 2>/dev/null; do wait "$step"; done  # a trap ends a wait
wait "$step"
code=$?

# Done or refused: the same would happen again.
case $code in FINAL) exit "$code" ;; esac
if [ -n "$ended" ] && [ -z "$near_limit" ]; then
  echo "ended by Slurm with code $code; the same script, submitted again, continues the run"
  exit "$code"
fi
"""
AGAIN = r"""ends=$run/logs/ends-$SLURM_JOB_ID
after=$(newest_checkpoint)
echo "${after:-none}" >> "$ends"
if [ "$(tail -n TRIES "$ends" | grep -cxF "${after:-none}")" = TRIES ]; then
  echo "given up with code $code: TRIES tries ended at the same checkpoint (${after:-none})"
  exit "$code"
fi
echo "requeued after code $code, at checkpoint ${after:-none}"
scontrol requeue "$SLURM_JOB_ID"
"""
TRIES = 3
FINAL = " | ".join(str(code) for code in (DONE, REFUSED, USAGE))
RUN = f"{NEWEST}{STEP}{AGAIN}"
# A worker tries cells again by itself; what it comes back for is its time limit.
WORKER = rf"""{STEP}[ "$code" = {STOPPED} ] || exit "$code"
echo "requeued after code $code"
scontrol requeue "$SLURM_JOB_ID"
"""


def script(
    options: SlurmOptions,
    base: Path,
    array: str | None,
    log: str,
    place: Sequence[str],
    body: str,
) -> str:
    """The batch script of a job in the directory `base`: its `#SBATCH` lines, the lines `place`
    that set `train`, and its body. ValueError if Slurm could not read it."""
    here = Path.cwd()
    for name, path in (("run_dir", base), ("working directory", here)):
        if not PLAIN_PATH.fullmatch(str(path)):
            raise UserError(
                f"{name}={str(path)!r} must be of letters, digits and ./@+=:,~-, because Slurm "
                "reads it in a line of the script; try another --run-dir"
            )
    nodes = f"{options.min_nodes}-{options.nodes}" if options.min_nodes else options.nodes
    head: dict[str, object] = {
        "job-name": base.name,
        "array": array,
        "nodes": nodes,
        "ntasks-per-node": options.tasks,
        "gpus-per-node": options.gpus_per_node,
        "cpus-per-task": options.cpus_per_task,
        "partition": options.partition,
        "account": options.account,
        "time": options.time,
        "chdir": here,
        "output": base / log,
        "open-mode": "append",
        "requeue": "",
        "signal": f"B:USR1@{options.grace}",
    }
    flags = f"--cpus-per-task={options.cpus_per_task} " if options.cpus_per_task else ""
    lines = [
        "#!/bin/bash",
        "# Written by `meshloom launch slurm`; sbatch takes it again, also after a change.",
        *(f"#SBATCH --{n}{f'={v}' if v != '' else ''}" for n, v in head.items() if v is not None),
        "",
        f"run={shlex.quote(str(base))}",
        *place,
        f'export PYTHONPATH={shlex.quote(str(ROOT))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        body.replace("SRUN_FLAGS", flags).replace("TRIES", str(TRIES)).replace("FINAL", FINAL),
    ]
    return "\n".join(lines)


def require_sbatch(*, dry_run: bool) -> None:
    """Raise ValueError if the job could not be submitted; called before anything is written."""
    if not dry_run and shutil.which("sbatch") is None:
        raise UserError(
            "sbatch must be on PATH, because it takes the job; try on a login node of the cluster, "
            "or --dry-run to see the script"
        )


def submit(
    script: str,
    base: Path,
    logs: str,
    folders: Sequence[Path],
    created: Sequence[Path] = (),
    *,
    dry_run: bool,
) -> None:
    """Write the script into `base` and give it to Slurm, which writes to `logs` in each folder; a
    dry run prints it.

    ValueError if Slurm does not take it: an older script is put back, and new directories, among
    them those `created` for the job, are removed.
    """
    if dry_run:
        sys.stdout.write(script)
        return
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
