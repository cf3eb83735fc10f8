"""Opening a run: every command that reads a run comes through here.

Its config must be that of its checkpoints, and the tokenizer the one it was trained with.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from data.errors import UserError
from launch.config import DistributedConfig, MeshConfig, RunConfig, load, resume_differences
from launch.run.directory import RunDirectory, find_run_directory
from launch.run.signing import signing_key
from train.checkpoint.folder import CheckpointFolder

if TYPE_CHECKING:
    from data.config import DataKind
    from data.tokenizer import Tokenizer
    from train.checkpoint.checkpointer import Checkpointer
    from train.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovedTokenizer:
    """Where the tokenizer of a run is now."""

    tokenizer: str | None = None
    """The run's tokenizer, if it was moved: `bytes`, or a path. Its content must be the same."""
    begin_token: str | None = None
    """The token before a document, if no file next to the tokenizer names it any more."""
    end_token: str | None = None
    """The token after a document, likewise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovedData(MovedTokenizer):
    """Where the data of a run are now."""

    sources: tuple[str, ...] | None = None
    """The run's corpora, if they were moved, in their order, as in `text:/new/place/*.txt`. Their
    text must be the same."""
    cache_dir: str | None = None
    """Another place for token stores."""


class OpenedRun(NamedTuple):
    """What the small files of a run say."""

    directory: RunDirectory
    config: RunConfig
    checkpoints: CheckpointFolder
    meta: Mapping[str, Any]
    """Of the step asked for, or of the newest whose meta can be read; empty if there is none."""

    def require_tokenizer(self, tokenizer: "Tokenizer | None", data: "DataKind") -> None:
        """Raise ValueError if the run was trained with another tokenizer than this, which `data`
        names, or by a version whose rows began documents otherwise; data that are no text have
        none."""
        from data.tokenizer import identity

        if tokenizer is None or not self.meta:
            return
        known, own = self.meta.get("tokenizer_digest"), identity(tokenizer)
        if known is None:
            raise UserError(
                f"run={self.directory.path} must be of a version that trains on where documents "
                "begin, because what a model writes begins there, but an older version trained it; "
                "try the version that trained it, or a new run"
            )
        if known != own:
            raise UserError(
                f"data.tokenizer={getattr(data, 'tokenizer', None)!r} has the digest {own[:16]}, "
                f"which must be {known[:16]}, because {self.directory.path} was trained with that "
                "tokenizer, and its ids, or the tokens between documents, mean something else in "
                f"this one (begin {tokenizer.begin.name!r}, end {tokenizer.end.name!r}); try "
                "--data.tokenizer with the path where that tokenizer is now, and "
                "--data.begin-token and --data.end-token as they were"
            )


class Saved(NamedTuple):
    """A checkpoint without its optimizer, and the run's config resolved for these devices."""

    config: RunConfig
    state: "TrainState"
    step: int
    meta: Mapping[str, Any]
    tokenizer: "Tokenizer | None"


def open_run(path: Path, like: RunConfig | None = None, step: int | None = None) -> OpenedRun:
    """The run in a directory, by its small files alone; `like` as in `launch.config.from_dict`.

    Raises ValueError when there is none, or its config.yaml is damaged or not that of its
    checkpoint of `step`, by default the newest.
    """
    directory = find_run_directory(path)
    config = load(directory.config, like)
    checkpoints = CheckpointFolder(directory.checkpoints)
    for each in reversed(checkpoints.steps()) if step is None else [step]:
        try:
            meta = checkpoints.meta(each)
        except (OSError, ValueError):
            continue  # Whoever reads that checkpoint verifies it, and says what is damaged.
        if not (isinstance(meta, dict) and isinstance(meta.get("config"), dict)):
            continue
        if lines := resume_differences(meta["config"], config):
            raise UserError(
                f"config={directory.config} must be the config of the run's checkpoints, because "
                f"they are read by it, but step {each} was saved by another:\n  "
                + "\n  ".join(lines)
                + "\ntry setting these fields back in that file"
            )
        return OpenedRun(directory, config, checkpoints, meta)
    return OpenedRun(directory, config, checkpoints, {})


@contextmanager
def open_saved(
    run_path: Path,
    step: int | None,
    mesh: MeshConfig,
    data: MovedTokenizer,
    distributed: DistributedConfig | None = None,
    like: RunConfig | None = None,
) -> Iterator[Saved]:
    """Restore a run's checkpoint (default: the latest) onto the mesh, which is current inside the
    block; `like` as in `launch.config.from_dict`.

    In place of a run, `hf:DIRECTORY` or `gguf:FILE` is a pretrained checkpoint. Raises ValueError
    when there is no such run or checkpoint, or the tokenizer is another.
    """
    if is_pretrained(run_path):
        with _open_pretrained(run_path, mesh, data, distributed) as saved:
            yield saved
        return
    from launch.process import runtime

    run = open_run(run_path, like, step)
    places = {name: place for name, place in vars(data).items() if place is not None}
    config = dataclasses.replace(run.config, data=run.config.data.moved(places))
    tokenizer = config.data.load_tokenizer()
    run.require_tokenizer(tokenizer, config.data)
    devices = runtime.start(
        mesh, distributed or DistributedConfig(), cache_dir=config.data.cache_dir
    )
    import jax

    from launch.run import build
    from train.checkpoint.checkpointer import Checkpointer

    config = build.resolve(config, jax.default_backend())
    with jax.set_mesh(devices):
        checkpointer = Checkpointer(
            run.directory.checkpoints, config.train.checkpoint, key=signing_key()
        )
        shapes = jax.eval_shape(build.fresh_state(config.model, config.train))
        shapes = dataclasses.replace(shapes, optimizer=None)
        state, meta = _verified(checkpointer, shapes, step)
        # A run that goes on may have saved its first checkpoint since it was opened.
        run._replace(meta=meta).require_tokenizer(tokenizer, config.data)
        yield Saved(config, state, int(state.step), meta, tokenizer)


def is_pretrained(path: Path) -> bool:
    """Whether it is not a path, but the spec of a pretrained checkpoint."""
    return str(path).startswith(("hf:", "gguf:"))


@contextmanager
def _open_pretrained(
    spec: Path, mesh: MeshConfig, data: MovedTokenizer, distributed: DistributedConfig | None
) -> Iterator[Saved]:
    from launch.pretrained.adopt import adopt
    from launch.pretrained.checkpoint import absolute, open_pretrained
    from launch.process import runtime

    where = absolute(str(spec))
    pretrained, config = open_pretrained(where), adopt(where, None)
    places = {name: place for name, place in vars(data).items() if place is not None}
    config = dataclasses.replace(config, data=config.data.moved(places))
    tokenizer = config.data.load_tokenizer()
    devices = runtime.start(
        mesh, distributed or DistributedConfig(), cache_dir=config.data.cache_dir
    )
    import jax

    from data.config import to_stderr
    from launch.pretrained.load import started
    from launch.run import build

    config = build.resolve(config, jax.default_backend())
    with jax.set_mesh(devices):
        fresh = build.fresh_state(config.model, config.train)
        state = build.make_fresh_state(
            lambda: dataclasses.replace(fresh(), optimizer=None, average=None)
        )
        state = started(state, pretrained, to_stderr)
        meta = {"names": list(pretrained.labels), "unanswered": False}
        yield Saved(config, state, 0, meta, tokenizer)


def _verified(
    checkpointer: "Checkpointer", shapes: "TrainState", step: int | None
) -> "tuple[TrainState, dict[str, Any]]":
    """State and meta of a checkpoint whose files are as they were written, else ValueError.

    The latest may go while it is read, if its run goes on; then the one after it is taken.
    """
    import jax

    from launch.process.distributed import from_first_process
    from train.checkpoint.manifest import fault_list

    def choose() -> int:
        """The step as this process sees it now, as the run may go on; -1 if it is not there."""
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
                raise UserError(
                    f"checkpoint={checkpointer.folder.of(taken)} must be as it was written, "
                    f"because it is trusted, but {fault_list(faults)}; "
                    f"try {others or 'another run'}"
                )
            return checkpointer.restore(shapes, taken), checkpointer.read_meta(taken)
        except ValueError:
            if step is not None or jax.process_count() > 1 or choose() == taken:
                raise
