"""The flags of `launch slurm`."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Interval

from data.errors import UserError
from launch.schema import bounds

Nodes = Annotated[int, Interval(ge=1, le=65_533)]
Tasks = Annotated[int, Interval(ge=1, le=65_533)]

# Days, then hours; or hours, minutes, seconds; minutes alone, or with seconds.
TIME = re.compile(r"(?:([0-9]{1,6})-)?([0-9]{1,9})(?::([0-9]{2}))?(?::([0-9]{2}))?")
NAME = re.compile(r"[A-Za-z0-9_.@+=,-]+")


@dataclass(frozen=True, kw_only=True)
class SlurmOptions:
    """Submit a run as a Slurm job that requeues itself until it is done.

    All nodes must see the checkout, this Python and the run directory.

    After the flags come `train PRESET` and flags of it.
    """

    nodes: Nodes = 1
    """Nodes of the job."""
    min_nodes: Nodes | None = None
    """Continue with as few nodes as this when the others do not come back; all, if not set."""
    tasks_per_node: Tasks | None = None
    """Processes of each node; one for each GPU, or one, if not given."""
    gpus_per_node: Tasks | None = None
    """GPUs of each node."""
    cpus_per_task: Tasks | None = None
    """CPUs of each process; Slurm's default, often 1, if not given."""
    partition: str | None = None
    """Partition to run in."""
    account: str | None = None
    """Account that pays."""
    time: str | None = None
    """Time limit as Slurm writes it: [DAYS-]HOURS:MINUTES:SECONDS."""
    grace: Annotated[int, Interval(ge=1, le=65_535)] = 120
    """Seconds before the time limit at which the run saves and the job is requeued."""
    array: Path | None = None
    """One run for each line of this file, in RUN/0, RUN/1, ...; a line holds more flags."""
    workers: Annotated[int, Interval(ge=1, le=1_000_000)] | None = None
    """Workers of a study, each a task of an array: of `ladder run STUDY --dir DIR`, which comes
    after the flags then."""
    dry_run: bool = False
    """Print the script; write and submit nothing."""

    def __post_init__(self) -> None:
        bounds.require(self)
        if self.min_nodes is not None and self.min_nodes > self.nodes:
            raise UserError(
                f"min_nodes={self.min_nodes} must be at most nodes={self.nodes}, because it is the "
                f"smallest number; try --min-nodes {self.nodes}"
            )
        tasks, gpus = self.tasks_per_node, self.gpus_per_node
        if tasks is not None and gpus is not None and tasks not in (1, gpus):
            raise UserError(
                f"tasks_per_node={tasks} must be 1 or gpus_per_node={gpus}, because a task "
                "alone on its node takes all GPUs and one among others takes one, so that some "
                f"would be idle or missing; try --tasks-per-node {gpus}"
            )
        if self.time is not None and not TIME.fullmatch(self.time):
            raise UserError(
                f"time={self.time!r} must be MINUTES, HOURS:MINUTES:SECONDS or "
                "DAYS-HOURS:MINUTES:SECONDS, because Slurm reads it; try --time 12:00:00"
            )
        if self.time is not None and 0 < _seconds(self.time) <= self.grace:
            raise UserError(
                f"time={self.time} must be more than grace={self.grace} seconds, because the run "
                "saves and is requeued so long before the limit and would make no step; "
                "try --time 12:00:00"
            )
        for name in ("partition", "account"):
            value = getattr(self, name)
            if value is not None and not NAME.fullmatch(value):
                raise UserError(
                    f"{name}={value!r} must be a name of letters, digits and ._@+=,-, because "
                    f"Slurm reads it in a line of the script; try `sinfo` to see the names"
                )

    @property
    def tasks(self) -> int:
        return self.tasks_per_node or self.gpus_per_node or 1


def _seconds(time: str) -> int:
    """The seconds of a time limit; 0 is no limit."""
    parts = TIME.fullmatch(time)
    assert parts is not None
    days, *clock = parts.groups()
    numbers = [int(part) for part in clock if part is not None]
    if days is None and len(numbers) < 3:
        numbers = [0, *numbers]
    hours, minutes, seconds = [*numbers, 0, 0][:3]
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
