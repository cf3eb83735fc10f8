"""A run's saved state on this machine's devices, for the commands that use what was trained."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.tokenizer import Tokenizer, load_tokenizer
from launch import runtime
from launch.config import DistributedConfig, MeshConfig, RunConfig, load
from launch.run_directory import find_run_directory
from launch.signing import signing_key

if TYPE_CHECKING:
    from train.checkpoint import Checkpointer
    from train.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saved:
    """One checkpoint without its optimizer, and the run's config resolved for these devices."""

    config: RunConfig
    state: "TrainState"
    step: int
    data_digest: str
    tokenizer: Tokenizer


@contextmanager
def open_saved(
    run_path: Path,
    step: int | None,
    mesh: MeshConfig,
    distributed: DistributedConfig | None = None,
) -> Iterator[Saved]:
    """Restore a run's checkpoint (default: the latest) onto the mesh, which is current inside the
    block.

    Raises ValueError when there is no such run or checkpoint.
    """
    run = find_run_directory(run_path)
    config = load(run.config)
    made = runtime.start(mesh, distributed or DistributedConfig(), cache_dir=config.data.cache_dir)
    import jax

    from launch import build
    from train.checkpoint import Checkpointer

    backend = jax.default_backend()
    model = build.resolve_model(config.model, backend)
    train = build.resolve_train(config.train, model, backend)
    with jax.set_mesh(made):
        checkpointer = Checkpointer(run.checkpoints, config.train.checkpoint, key=signing_key())
        shapes = jax.eval_shape(build.fresh_state(model, train))
        shapes = dataclasses.replace(shapes, optimizer=None)
        state, meta = _verified(checkpointer, shapes, step)
        yield Saved(
            config=dataclasses.replace(config, model=model, train=train),
            state=state,
            step=int(state.step),
            data_digest=meta["data_digest"],
            tokenizer=load_tokenizer(
                config.data.tokenizer, config.data.begin_token, config.data.end_token
            ),
        )


def _verified(
    checkpointer: "Checkpointer", shapes: "TrainState", step: int | None
) -> "tuple[TrainState, dict[str, Any]]":
    """State and meta of a checkpoint whose files are as they were written, else ValueError.

    The latest may go while it is read, if its run goes on; then the one after it is taken.
    """
    import jax

    from launch.distributed import from_first_process
    from train.manifest import told

    def choose() -> int:
        """The step as this process finds it now, as the run may go on; -1 if it is not there."""
        steps = checkpointer.steps()
        return max(steps, default=-1) if step is None else step if step in steps else -1

    while True:
        taken = int(from_first_process(lambda: str(choose())))
        if taken < 0:
            raise checkpointer.absent(step)
        try:
            if faults := checkpointer.faults(taken):
                steps = checkpointer.steps()
                others = " or ".join(f"--step {other}" for other in steps if other != taken)
                raise ValueError(
                    f"checkpoint={checkpointer.folder.of(taken)} must be as it was written, "
                    f"because it is trusted, but {told(faults)}; try {others or 'another run'}"
                )
            return checkpointer.restore(shapes, taken), checkpointer.read_meta(taken)
        except ValueError:
            if step is not None or jax.process_count() > 1 or choose() == taken:
                raise
