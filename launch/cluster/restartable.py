"""A training as a supervisor starts it again: its command line, directory, progress and logs."""

import contextlib
import shlex
import sys
import time
from collections.abc import Sequence

from data import system
from launch.cluster.elastic import largest_job
from launch.cluster.failure import SUMMARY, Failure, page
from launch.cluster.gang import Gang
from launch.cluster.local import LocalOptions, LocalPlaces
from launch.cluster.output import say
from launch.cluster.supervisor import TRAINING, supervise
from launch.process.typed import near, program
from launch.run.arguments import TrainOptions
from launch.run.directory import RunDirectory, check_flags, new_directory
from train.checkpoint.manifest import MANIFEST


def train_local(arguments: Sequence[str], train: TrainOptions, options: LocalOptions) -> int:
    """Supervise `meshloom train ARGUMENTS`, which say `train`, as a job on this machine; return
    the job's exit code."""
    patience = TRAINING._replace(start=train.run.distributed.start_timeout)
    with LocalPlaces(options) as places:
        with contextlib.closing(Restartable(arguments, train, places)) as job:
            return supervise(job, places.events, say, restarts=options.restarts, patience=patience)


class Restartable:
    """`meshloom train ARGUMENTS` on `places`; `options` are what the arguments say.

    The run directory is settled before the first start, so that each restart continues it.
    """

    def __init__(
        self, arguments: Sequence[str], options: TrainOptions, places: LocalPlaces
    ) -> None:
        self._options = options
        self._places = places
        self._mesh: list[str] = []
        self._first = ["train", *arguments]
        path = options.run_dir
        check_flags(path, resume=options.resume, overwrite=options.overwrite)
        if path is None:
            path = new_directory(options.run.preset)
            self._first += ["--run-dir", str(path)]
        self._run = RunDirectory(system.local_path("run_dir", path))
        self._before = self._config_written()
        self._stamp = time.strftime("%Y%m%d-%H%M%S")
        self._name = self._stamp

    def start(self, attempt: int) -> Gang:
        self._name = f"{self._stamp}-attempt-{attempt}"
        return self._places.start([sys.executable, "-m", "launch", *self._words()])

    def look(self, gang: Gang) -> None:
        if self._is_open():
            gang.keep_logs(self._run.logs, self._name)

    def saved_step(self) -> int | None:
        resumes = self._options.resume or self._options.resume_or_start
        if not self._is_open() and not resumes:
            return None
        with contextlib.suppress(OSError):
            whole = [path.parent.name for path in self._run.checkpoints.glob(f"*/{MANIFEST}")]
            return max((int(name) for name in whole if name.isdecimal()), default=None)
        return None

    def shrink(self, failure: Failure) -> bool:
        most, fewest = len(self._places) - 1, self._places.options.min_processes
        if fewest is None or most < fewest:
            return False
        run = self._options.run
        fit = largest_job(run, most, fewest, self._places.devices_per_process)
        if fit is None:
            say(
                f"{fewest} to {most} processes cannot hold the run at "
                f"train.batch_size={run.train.batch_size}, so all are kept"
            )
            return False
        dropped = f"process {failure.number}"
        if fit.processes < most:
            dropped += f" and {most - fit.processes} more, as their mesh cannot hold the run"
        kept = f"{fit.processes} of {most + 1} processes, mesh {fit.mesh}"
        say(f"continuing with {kept}: no {dropped}")
        self._places.keep(fit.processes, failure.number)
        self._mesh = fit.flags
        return True

    def stopped(self) -> None:
        if self._is_open():
            say(f"to continue: {shlex.join(self._resume_command())}")

    def give_up(self, failures: Sequence[Failure], why: str) -> None:
        resume = self._resume_command()
        say("\n" + page(failures, why, resume, SUMMARY).rstrip())
        file = self._run.failures / f"{time.strftime('%Y%m%d-%H%M%S')}.txt"
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(page(failures, why, resume, len(failures[-1].last_lines)))
            say(f"this page: {near(file)}")

    def close(self) -> None:
        """Remove the directory that was created for a run that never began."""
        if self._options.run_dir is None:
            with contextlib.suppress(OSError):
                self._run.path.rmdir()

    def _is_open(self) -> bool:
        """Whether the run has been opened by one of our processes."""
        return self._config_written() not in (None, self._before)

    def _config_written(self) -> tuple[int, int] | None:
        try:
            status = self._run.config.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns

    def _resume_command(self) -> list[str]:
        return [*program(), *self._places.launcher(), *self._words()]

    def _words(self) -> list[str]:
        """`train ...` from here on. The run's own config says all once the run is open; the trace
        of a profile is of its first attempt."""
        if not self._is_open():
            return self._first
        no_profile = ["--profile", "None"] if self._options.run.profile else []
        run = ["train", "--run-dir", near(self._run.path), "--resume"]
        return [*run, *no_profile, *self._mesh]
