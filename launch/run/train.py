"""Training a run: the process around it, from its devices to its end."""

import contextlib
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from launch.config import RunConfig
from launch.process import exits, runtime
from launch.process.interrupt import TOGETHER, Stop

if TYPE_CHECKING:
    from launch.run.assembly import Trained


def train(
    config: RunConfig,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    resume_or_start: bool = False,
    overwrite: bool = False,
) -> "Trained":
    """Train as `config` says, to its end or until a signal stops it.

    A new directory under runs/ is created unless `run_dir` is passed; one that contains a run is
    refused unless `resume` or `resume_or_start` continues it or `overwrite` sets it aside. Nothing
    is written before the config is known to fit the devices and the data. Raises ValueError.
    """
    # What hears a signal, and shows that this process lives, starts before slow imports.
    from launch.process.heartbeat import Heartbeat
    from launch.run.directory import RunDirectory, check_flags, open_run_directory, require_free
    from launch.run.timeline import Timeline
    from train.report.phases import Phases

    check_flags(run_dir, resume=resume, overwrite=overwrite)
    phases = Phases()
    heartbeat = Heartbeat(phases)
    stop = Stop()
    timeline = Timeline(phases)
    with contextlib.ExitStack() as leaving:
        if not exits.is_program():
            leaving.callback(stop.restore)
        with exits.leaving_on_error():
            mesh = runtime.start(
                config.mesh,
                config.distributed,
                cache_dir=config.data.cache_dir,
                deterministic=config.deterministic,
            )
            import jax

            from launch.process.distributed import from_first_process, shutdown
            from launch.run.assembly import run_training
            from launch.run.watch import Watch, start_watchdog
            from train.processes import coordination

            job = coordination()
            stop.agree_over(job)
            if run_dir is not None and not resume:
                # By process 0 alone: others may look when it has just started the run.
                run = RunDirectory.at(run_dir)
                if resume_or_start:
                    resume = bool(from_first_process(lambda: "yes" if run.has_run() else ""))
                if not resume:
                    from_first_process(lambda: str(require_free(run, overwrite=overwrite)))
        heartbeat.process = jax.process_index()
        exits.on_end[:] = [timeline.end]
        watchdog = start_watchdog(phases, config.train.watchdog, jax.process_index())
        watch = Watch(phases, stop, timeline, watchdog, job)
        with contextlib.closing(watchdog), jax.set_mesh(mesh), timeline, exits.leaving_on_error():
            opened = functools.partial(
                open_run_directory, path=run_dir, resume=resume, overwrite=overwrite
            )
            trained = run_training(config, run_dir if resume else None, opened, watch)
            shutdown(TOGETHER)
            return trained
