"""Training a run: joins the rooms, runs `fit`, and reports what came of it."""

import contextlib
import functools
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from launch.config import RunConfig
from launch.process import exits, runtime
from launch.process.interrupt import TOGETHER, Stop

if TYPE_CHECKING:
    from launch.run.ready import Ready
    from launch.run.timeline import Timeline
    from train.report.phases import Phases
    from train.report.record import Place
    from train.state import TrainState


def train(
    config: RunConfig,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    resume_or_start: bool = False,
    overwrite: bool = False,
) -> "Trained":
    """Train as `config` says, to its end or until a signal stops it.

    A new directory under runs/ is made unless `run_dir` is given; one that holds a run is refused
    unless `resume` or `resume_or_start` goes on with it or `overwrite` sets it aside. Nothing is
    written before the config is known to fit the devices and the data. Raises ValueError.
    """
    from launch.process.heartbeat import Heartbeat
    from launch.run.directory import check_flags
    from launch.run.timeline import Timeline
    from train.guard.watchdog import Watchdog
    from train.report.phases import Phases

    check_flags(run_dir, resume=resume, overwrite=overwrite)
    phases = Phases()
    heartbeat = Heartbeat(phases)
    stop = Stop()
    leaving = contextlib.ExitStack()
    if not exits.is_program():
        leaving.callback(stop.restore)
    with leaving, exits.leaving_on_error():
        mesh = runtime.start(
            config.mesh,
            config.distributed,
            cache_dir=config.data.cache_dir,
            deterministic=config.deterministic,
        )
        import jax

        from launch.process.distributed import shutdown
        from launch.process.peers import Peers
        from launch.run.leg import run_legs
        from launch.run.ready import holds_run, prepare
        from train.processes import coordination

        job = coordination()
        stop.agree_over(job)
        if resume_or_start and run_dir is not None and not resume:
            resume = holds_run(run_dir)
    heartbeat.process = jax.process_index()
    hung = functools.partial(_hung, phases, jax.process_index())
    timeline = Timeline(phases)
    exits.on_end[:] = [timeline.end]
    watchdog = Watchdog(phases, config.train.watchdog, hung)
    with (
        contextlib.closing(watchdog),
        jax.set_mesh(mesh),
        timeline,
        contextlib.ExitStack() as closing,
        exits.leaving_on_error(),
    ):
        ready = prepare(config, run_dir, resume, overwrite, phases, stop, timeline, closing)
        peers = Peers(job, phases, config.train.watchdog.step_seconds)
        watchdog.saving_since = lambda: ready.checkpointer.saving_since
        watchdog.held_up_at = lambda: peers.delayed_at
        with contextlib.closing(peers):
            state, place = run_legs(ready)
        phases.enter("finish")
        stop.close()
        closing.close()
        finished = _finish(ready, state, place, timeline)
        shutdown(TOGETHER)
        return Trained(ready.run.path, place.step, finished)


class Trained(NamedTuple):
    """What came of a training."""

    path: Path
    """The run's directory."""
    step: int
    """The last one, which is saved."""
    finished: bool
    """False if it was stopped by a signal; then it can be resumed."""


def _hung(phases: "Phases", process: int, what: str) -> None:
    phase = phases.now
    where = f"process {process} on {socket.gethostname()}, in phase {phase.name}"
    exits.leave_hung(f"{where} since {time.monotonic() - phase.begin:.0f} s", what)


def _finish(ready: "Ready", state: "TrainState", place: "Place", timeline: "Timeline") -> bool:
    """Report how the run ended, and whether it came to its end."""
    if place.examples >= ready.end:
        ready.report.finish(ready.run, state, place, ready.rows.tokenizer)
        return True
    stop = ready.stop
    timeline.ended = f"stopped by {stop.asked}"
    kept = "saved" if place.step else "nothing to save"
    ready.report.say(f"stopped by {stop.asked} at step {place.step}, {kept}{stop.hint()}")
    return False
