"""What each command takes on its command line beside a RunConfig. Imports no jax."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from data.errors import UserError
from data.fields import Count, Seed, Whole
from launch.config import MOST_VIRTUAL, DistributedConfig, MeshConfig, RunConfig, load
from launch.schema import bounds
from launch.schema.command_line import UsageError, value_of

Processes = Annotated[int, Interval(ge=1, le=1024)]
Devices = Annotated[int, Interval(ge=1, le=MOST_VIRTUAL)]


def begun_from(arguments: list[str], command: str) -> RunConfig | None:
    """The preset that the arguments begin with, or the file of their --config; None without either.
    Raises UsageError for both, and for an unknown preset."""
    named = bool(arguments) and not arguments[0].startswith("-")
    file = value_of("--config", arguments)
    if named and file is not None:
        raise UsageError(
            f"meshloom {command} takes a preset or --config, not both; leave out {arguments[0]}"
        )
    if named:
        from launch.presets.preset import preset

        try:
            return preset(arguments[0])
        except ValueError as error:
            raise UsageError(str(error)) from error
    return None if file is None else load(Path(file))


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Train a preset; each field of its config can be changed by a flag."""

    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    config: Path | None = None
    """Begin from this YAML, as a run directory holds it, in place of a preset."""
    run_dir: Path | None = None
    """Directory of the run; a new one under runs/ if not given."""
    resume: bool = False
    """Go on from the latest checkpoint in --run-dir; the preset may be left out."""
    resume_or_start: bool = False
    """Go on with the run in --run-dir if it holds one, else begin it; for commands that a cluster
    starts again and again."""
    overwrite: bool = False
    """Move the run that is in --run-dir aside and begin again."""

    def __post_init__(self) -> None:
        # As a path, gs://bucket has lost a slash.
        if self.run_dir is not None and re.match(r"[a-z0-9]+:/", str(self.run_dir)):
            raise UserError(
                f"run_dir={self.run_dir} must be a local path, because a run is written as files "
                "of this machine; try a folder where the bucket is mounted"
            )
        if self.resume_or_start and (self.run_dir is None or self.overwrite):
            raise UserError(
                "resume_or_start=True must come with --run-dir and without --overwrite, because "
                "it goes on with the run that is there; try --run-dir DIRECTORY --resume-or-start"
            )


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """Tell what a run will need on a cluster, by the accelerator's own compiler.

    `meshloom plan llama3-8b --on v5p-128 --mesh.fsdp 64`; each field of the run's config can be
    changed by a flag.
    """

    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    config: Path | None = None
    """Begin from this YAML, as a run directory holds it, in place of a preset."""
    on: str = ""
    """The chips: v5p:8x8x8 is a torus, v5p-1024 the vendor's name (v4, v5p and tpu7x count cores
    there, two a chip), 2xv5e-256 two slices, h100x64 GPUs."""
    tokens: str | None = None
    """Tokens of the whole training, as in 300B; it sets train.steps."""
    batch_tokens: str | None = None
    """Tokens of a step, as in 4M; it sets train.batch_size, to a near one that can be cut."""
    price: Annotated[float, Interval(ge=0, le=1e9)] | None = None
    """Price of a chip-hour, in any currency: the plan tells the cost too."""
    elastic: bool = False
    """In place of a plan, the best layout on 64 to 8,192 such chips, by arithmetic alone: where
    scaling stops, and which collective stops it."""
    search: bool = False
    """Look for the layout a step is fastest in: its mesh, micro-batches and remat, which are not
    given then."""
    json: bool = False
    """Print JSON in place of tables."""
    out: Path | None = None
    """Folder of the plan's files; if not given, one under runs/plans."""


@dataclass(frozen=True, kw_only=True)
class MovedTokenizer:
    """Where the tokenizer of a run lies now."""

    tokenizer: str | None = None
    """The run's tokenizer, if it was moved: `bytes`, or a path. What it holds must be the same."""
    begin_token: str | None = None
    """The token before a document, if no file next to the tokenizer says so any more."""
    end_token: str | None = None
    """The token after a document, likewise."""


@dataclass(frozen=True, kw_only=True)
class MovedData(MovedTokenizer):
    """Where the data of a run lie now."""

    sources: tuple[str, ...] | None = None
    """The run's corpora, if they were moved, in their order, as in `text:/new/place/*.txt`. Their
    text must be the same."""
    cache_dir: str | None = None
    """Another place for token stores."""


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Loss, perplexity and bits per byte of a run's checkpoint on its held-out rows."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    step: Whole | None = None
    """Checkpoint to read; the latest if not given."""
    batches: Count | None = None
    """Batches of held-out rows at most; all of them if not given."""
    data: MovedData = field(default_factory=MovedData)
    """Where its data lie now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    """The processes."""


@dataclass(frozen=True, kw_only=True)
class GenerateOptions:
    """Let a run's checkpoint write on from a prompt."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    prompt: str = ""
    """Text to go on from; empty begins a document."""
    step: Whole | None = None
    """Checkpoint to read; the latest if not given."""
    tokens: Annotated[int, Interval(ge=1, le=10**6)] = 200
    """Tokens to write at most."""
    samples: Annotated[int, Interval(ge=1, le=10_000)] = 1
    """Continuations to write."""
    temperature: Annotated[float, Interval(ge=0, le=1e3)] = 0.8
    """Divides the logits; 0 takes the likeliest token each time."""
    top_k: Count | None = None
    """Draw only from this many likeliest tokens."""
    top_p: Annotated[float, Interval(ge=1e-6, le=1)] | None = None
    """Draw only from the likeliest tokens that together hold this probability."""
    seed: Seed = 0
    """Seed of the drawing."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer lies now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""

    def __post_init__(self) -> None:
        if 0 < self.temperature < 1e-6:
            raise UserError(
                f"temperature={self.temperature} must be 0 or at least 1e-06, because logits are "
                "divided by it and would overflow; try --temperature 0"
            )


@dataclass(frozen=True, kw_only=True)
class GoodputOptions:
    """Where the wall time of a run went over all its starts; draws goodput.png."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    json: bool = False
    """Print JSON in place of a table, and draw nothing."""


@dataclass(frozen=True, kw_only=True)
class PresetsOptions:
    """List every preset with its sizes."""

    json: bool = False
    """Print JSON, one object a preset, in place of a table."""


@dataclass(frozen=True, kw_only=True)
class LocalOptions:
    """Start a command as one job of several processes on this machine.

    When a process fails, `train` is started again from its last checkpoint.

    COMMAND follows the flags: `meshloom launch local --processes 2 train tiny`.
    """

    processes: Processes | None = None
    """Processes of the job; if not given, one for each of --gpus, and without those 2."""
    devices_per_process: Devices | None = None
    """Virtual CPU devices of each process; 1 if not given."""
    gpus: str | None = None
    """Run on these GPUs, as in 0,1,2,3, shared out evenly among the processes."""
    restarts: Annotated[int, Interval(ge=0, le=10**6)] = 3
    """Restarts in a row that may bring no progress before the job is given up; 0: none at all."""
    min_processes: Processes | None = None
    """Go on with fewer processes, but not fewer than this, when the same one fails again."""

    def __post_init__(self) -> None:
        bounds.require(self)
        gpus = self.gpu_names()
        if gpus and self.devices_per_process is not None:
            raise UserError(
                f"devices_per_process={self.devices_per_process} must not come with gpus="
                f"{self.gpus}, because it counts CPU devices; try without --devices-per-process"
            )
        if gpus and len(gpus) % (self.processes or 1):
            raise UserError(
                f"gpus={self.gpus} must be a multiple of processes={self.processes}, because each "
                f"process gets as many, but there are {len(gpus)}; try --processes {len(gpus)}"
            )
        most = self.processes or len(gpus) or 2
        if self.min_processes is not None and self.min_processes > most:
            raise UserError(
                f"min_processes={self.min_processes} must be at most processes={most}, because "
                f"the job begins with those; try --min-processes {most}"
            )

    def gpu_names(self) -> list[str]:
        """What CUDA_VISIBLE_DEVICES calls them; none for a job on the CPU."""
        if self.gpus is None:
            return []
        names = [name.strip() for name in self.gpus.split(",")]
        if "" in names or len(set(names)) < len(names):
            raise UserError(
                f"gpus={self.gpus} must name each GPU once, because a process owns those it gets; "
                "try --gpus 0,1"
            )
        return names


@dataclass(frozen=True, kw_only=True)
class VerifyResumeOptions:
    """Train twice, once killed at random instants, and compare every bit.

    PRESET and flags of `train` follow the flags:
    `meshloom verify-resume --kills 5 tiny --train.steps 60`.
    """

    kills: Annotated[int, Interval(ge=1, le=10_000)] = 5
    """Times the second run is killed, by signal 9 to all its processes at once."""
    seed: Seed = 0
    """Seed of the instants."""
    processes: Processes = 1
    """Processes of each run, on this machine."""
    devices_per_process: Devices = 1
    """Virtual CPU devices of each process, when there are several."""
    folder: Path | None = None
    """Where both runs lie; a new one under runs/ if not given."""
