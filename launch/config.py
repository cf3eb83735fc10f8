"""What a run is: RunConfig, composed of the rooms' configs, and its YAML form. Imports no jax."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from annotated_types import Interval

from data import durable
from data.config import DataKind
from data.errors import UserError
from data.fields import FREE, Whole
from launch.schema import bounds
from launch.schema.fields import DATA_KINDS
from launch.schema.structured import structured
from launch.schema.yaml_file import load_dict
from model.families import FAMILIES
from model.families.family import FamilyConfig
from train.config import OptimizerConfig, TrainConfig
from train.optimizer.table import OPTIMIZERS

Axis = Annotated[int, Interval(ge=-1, le=2**20)]
MOST_VIRTUAL = 1024
"""CPU devices of one process, at most."""


@dataclass(frozen=True, kw_only=True)
class MeshConfig:
    """Devices along each mesh axis, slowest network first; the shape is the parallelism strategy.

    Every axis always exists. One of them may be -1, which takes the devices the others leave.
    """

    replica: Axis = 1
    """Whole copies of the model, one per slice or node (data parallel)."""
    stage: Axis = 1
    """Pipeline stages; not implemented yet, must be 1."""
    fsdp: Axis = -1
    """Ways the batch, the parameters and the optimizer state are split (sharded data parallel)."""
    expert: Axis = 1
    """Ways experts are split; not implemented yet, must be 1."""
    context: Axis = 1
    """Ways the sequence is split; not implemented yet, must be 1."""
    tensor: Axis = 1
    """Ways heads, feed-forward width and vocabulary are split (tensor parallel)."""


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """How the processes of one job find each other."""

    start: Literal["auto", "none", "slurm", "kubernetes", "tpu", "explicit"] = "auto"
    """Where addresses come from; auto looks for each in turn, else it is one process."""
    coordinator: str | None = None
    """HOST:PORT of process 0, for `explicit`; elsewhere it overrides what was detected."""
    num_processes: Annotated[int, Interval(ge=1, le=2**20)] | None = None
    """Processes in the job, for `explicit`."""
    process_id: Annotated[int, Interval(ge=0, le=2**20)] | None = None
    """This process's number from 0, for `explicit`."""
    start_timeout: Annotated[int, Interval(ge=1, le=10**6)] = 300
    """Seconds to wait for all processes to arrive."""
    heartbeat_timeout: Annotated[int, Interval(ge=1, le=10**6)] = 30
    """Seconds of silence after which a process counts as dead and the whole job ends."""
    tls: tuple[str, str, str] | None = None
    """PEM files CERTIFICATE KEY AUTHORITY of this host, by which the processes know each other;
    what they agree upon is then encrypted. Needs JAX 0.12."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes, and how it reports."""

    preset: tyro.conf.Suppress[tyro.conf.Fixed[str]] = field(metadata=FREE)
    """Name of the preset this run began as."""
    model: FamilyConfig
    """The architecture."""
    data: DataKind
    """What it is trained on."""
    train: TrainConfig
    """Length, batch, optimizer, evaluation and checkpoints."""
    start_from: str | None = None
    """Weights to begin with in place of fresh ones: `hf:DIRECTORY`, with config.json and
    safetensors as `transformers` writes them, `hf:ORG/NAME` for a hub's, with @REVISION or not,
    `gguf:FILE`, or the directory of a run. A head that they do not have is fresh."""
    mesh: MeshConfig = field(default_factory=MeshConfig, metadata=FREE)
    """The devices."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig, metadata=FREE)
    """The processes."""
    deterministic: bool = field(default=False, metadata=FREE)
    """Ask XLA for bit-reproducible kernels on GPU; costs speed there (often 10 % or more), and
    nothing on CPU and TPU."""
    tensorboard: bool = field(default=True, metadata=FREE)
    """Write TensorBoard event files into the run directory."""
    wandb: str | None = field(default=None, metadata=FREE)
    """Weights & Biases project to report to; needs the `wandb` extra."""
    sample: Annotated[int, Interval(ge=0, le=10**6)] = field(default=200, metadata=FREE)
    """Tokens the model writes when its training is done; 0 for none."""
    profile: tuple[Whole, Whole] | None = field(default=None, metadata=FREE)
    """Steps START STOP between which a trace is written into the run directory."""

    def __post_init__(self) -> None:
        bounds.require(self)
        self._require_own_names()
        if self.profile is not None and self.profile[0] >= self.profile[1]:
            start, stop = self.profile
            raise UserError(
                f"profile={start} {stop} must be two steps, the first below the second, because "
                "the trace runs from one to the other; try --profile 0 3"
            )

    def _require_own_names(self) -> None:
        """ValueError if a part of a class from elsewhere has the name of one of ours: whoever reads
        the run by that name would go on with ours."""
        model, optimizer = self.model, self.train.optimizer
        for name, value, part, ours in (
            ("model.kind", model.kind, model, FAMILIES.get(model.kind)),
            (
                "train.optimizer.name",
                optimizer.name,
                optimizer,
                OptimizerConfig if optimizer.name in OPTIMIZERS else None,
            ),
        ):
            if ours is not None and type(part) is not ours:
                raise UserError(
                    f"{name}={value} must be a name of its own in {type(part).__name__}, because "
                    f"it is that of {ours.__name__}, which a run of this config would be taken "
                    f"for; try {name.rpartition('.')[2]}: Literal['mine'] = 'mine' in that class"
                )


def to_dict(config: Any) -> dict[str, Any]:
    """A config as plain dicts, lists and scalars, fit for YAML and JSON."""
    return _plain(config)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def from_dict(
    values: Mapping[str, Any], where: str = "config", like: RunConfig | None = None
) -> RunConfig:
    """The RunConfig of `to_dict`'s result; ValueError, naming `where`, on unfit keys and values.

    If parts of it are of classes from elsewhere, `like` is a config whose parts are of those.
    """
    classes = {} if like is None else _from_elsewhere(like)
    return structured(RunConfig, values, where, "a run config", classes)


def _from_elsewhere(config: RunConfig) -> dict[type, type]:
    parts = {
        FamilyConfig: type(config.model),
        DataKind: type(config.data),
        OptimizerConfig: type(config.train.optimizer),
    }
    ours = (*FAMILIES.values(), *DATA_KINDS.values(), *parts)
    return {declared: actual for declared, actual in parts.items() if actual not in ours}


def save(config: Any, path: Path) -> None:
    """Write a config as YAML, whole or not at all."""
    import yaml

    durable.write(path, yaml.safe_dump(to_dict(config), sort_keys=False))


def load(path: Path, like: RunConfig | None = None) -> RunConfig:
    """Read the YAML that `save` wrote, as `from_dict`; ValueError names the file, the key and the
    nearest key."""
    return from_dict(load_dict(path), str(path), like)


def resume_differences(old: Mapping[str, Any], new: Any, prefix: str = "") -> list[str]:
    """Lines `field: was X, now Y` for every field that must match on resume and does not.

    `old` is `to_dict` of the config the checkpoint was written under. Fields whose metadata has
    `FREE` (or that lie inside such a field) may differ. A field that is younger than the old run
    had its default there, as a new field's default changes nothing.
    """
    fields = {f.name: f for f in dataclasses.fields(new) if not FREE.items() <= f.metadata.items()}
    free = {f.name for f in dataclasses.fields(new)} - fields.keys()
    lines = []
    for name in sorted((old.keys() | fields.keys()) - free):
        value = getattr(new, name) if name in fields else "absent"
        if dataclasses.is_dataclass(value):
            lines += resume_differences(old.get(name, {}), value, f"{prefix}{name}.")
            continue
        default = fields[name].default if name in fields else dataclasses.MISSING
        before = old.get(name, "absent" if default is dataclasses.MISSING else _plain(default))
        if before != (now := _plain(value)):
            lines.append(f"{prefix}{name}: was {before}, now {now}")
    return lines


def require_resumable(old: Mapping[str, Any], new: RunConfig) -> None:
    """Raise ValueError listing the `resume_differences`, if there are any."""
    lines = resume_differences(old, new)
    if lines:
        raise UserError(
            "resume must go on with the same model, data and optimizer, because the checkpoint "
            "was written with them; these differ:\n  "
            + "\n  ".join(lines)
            + "\ntry --resume without a preset, which takes the run's own values, and without the "
            "flags that change them, or start a new run without --resume"
        )


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of nested mappings, with its name as in `train.optimizer.beta1`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
