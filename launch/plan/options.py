"""What `meshloom plan` takes on its command line. Imports no jax."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from launch.config import RunConfig
from launch.run.arguments import StartOptions


@dataclass(frozen=True, kw_only=True)
class PlanOptions(StartOptions):
    """What a run will need on a cluster, by the accelerator's own compiler.

    `meshloom plan llama3-8b --on v5p-128 --mesh.fsdp 64`; each field of the run's config can be
    changed by a flag.
    """

    run: Annotated[RunConfig, tyro.conf.arg(name="")]
    on: str = ""
    """The chips: v5p:8x8x8 is a torus, v5p-1024 the vendor's name (v4, v5p and tpu7x count cores
    there, two a chip), 2xv5e-256 two slices, h100x64 GPUs."""
    tokens: str | None = None
    """Tokens of the whole training, as in 300B; it sets train.steps."""
    batch_tokens: str | None = None
    """Tokens of a step, as in 4M; it sets train.batch_size, to a near one that can be cut."""
    price: Annotated[float, Interval(ge=0, le=1e9)] | None = None
    """Price of a chip-hour, in any currency: the plan then includes the cost."""
    elastic: bool = False
    """Instead of a plan, the best layout on 64 to 8,192 such chips, by arithmetic alone: where
    scaling stops, and which collective stops it."""
    search: bool = False
    """Look for the layout in which a step is fastest: its mesh, micro-batches and remat, which
    must then be left out."""
    json: bool = False
    """Print JSON instead of tables."""
    out: Path | None = None
    """Folder of the plan's files; a new one under runs/plans by default."""
