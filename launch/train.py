"""The command `train`: joins the rooms, runs `fit`, and tells what came of it."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from launch import exits, runtime
from launch.config import RunConfig
from launch.interrupt import Stop

if TYPE_CHECKING:
    from launch.ready import Ready
    from train.record import Place
    from train.state import TrainState


def train(
    config: RunConfig,
    *,
    run_dir: Path | None = None,
    resume: bool = False,
    resume_or_start: bool = False,
    overwrite: bool = False,
) -> int:
    """Train as `config` says and return the exit code: done, or stopped by a signal.

    A new directory under runs/ is made unless `run_dir` is given; one that holds a run is refused
    unless `resume` or `resume_or_start` goes on with it or `overwrite` sets it aside. Nothing is
    written before the config is known to fit the devices and the data. Raises ValueError.
    """
    from train.phases import Phases

    phases = Phases()
    stop = Stop()
    with exits.failing_fast():
        mesh = runtime.start(
            config.mesh,
            config.distributed,
            cache_dir=config.data.cache_dir,
            deterministic=config.deterministic,
        )
        import jax

        from launch.coordination import coordination
        from launch.leg import run_legs
        from launch.ready import holds_run, prepare

        stop.agree_over(coordination())
        if resume_or_start and run_dir is not None and not resume:
            resume = holds_run(run_dir)
    with jax.set_mesh(mesh), ExitStack() as closing, exits.failing_fast():
        ready = prepare(config, run_dir, resume, overwrite, phases, stop, closing)
        state, place = run_legs(ready)
        phases.enter("finish")
        stop.close()
        closing.close()
        return _finish(ready, state, place)


def _finish(ready: "Ready", state: "TrainState", place: "Place") -> int:
    """Tell how the run ended; the exit code."""
    from launch.coordination import part

    if place.examples >= ready.end:
        ready.report.finish(ready.run, state, place, ready.rows.tokenizer)
        return exits.DONE
    stop = ready.stop
    ready.report.say(
        f"stopped by {stop.asked} at step {place.step}, saved; to go on: {stop.to_go_on}"
    )
    part()
    return exits.STOPPED
