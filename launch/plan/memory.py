"""Whether a step fits a device, and what fills it: the compiler's peak, split by arithmetic."""

import math
import os
from dataclasses import dataclass
from typing import Literal

from data.errors import UserError
from launch.config import RunConfig
from launch.plan.compiler import CompiledStep
from launch.plan.estimate import ROOM, advice
from launch.plan.roofline import device_of
from launch.plan.topology import Topology
from launch.plan.work import Origin
from model.flops import parameter_count
from train.optimizer.memory import state_bytes
from train.report.numbers import GIB, size_unit

NAME, OLD = "XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION"
"""Share of a GPU's memory that JAX takes; it reads both, empty ones as if they were not set, and
calls the second deprecated."""
USUAL = 0.75
"""Of a GPU's memory, what JAX takes if neither is set."""
MOST = 0.95
"""Of a GPU's memory, what leaves room for CUDA itself."""

Verdict = Literal["fits", "fits if a process may take more", "does not fit"]


@dataclass(frozen=True)
class MemoryPart:
    """Bytes on one device that are there for one reason."""

    name: str
    bytes: int
    origin: Origin


@dataclass(frozen=True)
class MemoryFit:
    """What a step takes of one device."""

    verdict: Verdict
    peak: int
    """Of a step that does not fit, what it wanted."""
    whole: bool
    """Whether the peak is all the compiler's; else it said those of the temporaries alone, and the
    rest is arithmetic."""
    limit: int
    """What the compiler gives a program on a TPU; all memory of a GPU."""
    share: float
    """Of the limit, what JAX takes."""
    parts: tuple[MemoryPart, ...]
    """They sum to the peak."""
    host: int
    """Bytes in the memory of the host, by the compiler."""

    @property
    def most(self) -> float:
        """Bytes that a process can get."""
        return self.limit * max(self.share, MOST)

    @property
    def fits(self) -> bool:
        """Whether there is room, if need be in a process that may take more of a GPU."""
        return self.verdict != "does not fit"

    @property
    def variable(self) -> str | None:
        """What a shell must set for the process to take as much, if JAX's share is not enough and
        CUDA leaves it."""
        if self.verdict != "fits if a process may take more":
            return None
        return f"{NAME}={min(MOST, self.peak / self.limit + 0.02):.2f}"

    @property
    def peak_origin(self) -> str:
        return "compiler" if self.whole else "compiler, arithmetic"


def fit_of(step: CompiledStep, topology: Topology) -> MemoryFit:
    """The compiler's peak with what is known of it by arithmetic taken out; the rest is what the
    step computes in between.

    The peak is no less than the step's arguments. Gradients are as large as the parameters, in
    float32, all at once, unless the compiler needed less room.
    """
    arguments = sum(step.logical.values())
    if step.bytes is not None:
        peak, whole = _peak(step.bytes, step.limit, topology), True
        padding, host = step.bytes["arguments"] - arguments, step.bytes["host"]
    else:
        peak, whole = max(step.needed, arguments), step.whole and step.needed >= arguments
        padding, host = 0, 0
    rest = peak - arguments - padding
    gradients = min(step.logical["parameters"], rest)
    parts = [
        *(MemoryPart(name, size, "arithmetic") for name, size in step.logical.items()),
        MemoryPart("padding of these", padding, "compiler"),
        MemoryPart("gradients", gradients, "arithmetic"),
        MemoryPart("activations and temporaries", rest - gradients, "compiler"),
    ]
    share = share_of(topology)
    verdict: Verdict = "does not fit"
    if step.bytes is not None and peak <= share * step.limit:
        verdict = "fits"
    elif step.bytes is not None and share < MOST and peak <= MOST * step.limit:
        verdict = "fits if a process may take more"
    parts = tuple(part for part in parts if part.bytes)
    return MemoryFit(verdict, peak, whole, step.limit, share, parts, host)


def _peak(step: dict[str, int], limit: int, topology: Topology) -> int:
    """Of the device's memory. Where a step keeps something in the host's, the compiler says one
    peak for both, so that all the device gets stands for it; a TPU's compiler breaks off for a
    step that takes more than there is, so that it is no more than that."""
    if not step["host"]:
        return max(step["peak"], step["arguments"])
    most = step["arguments"] + step["temporaries"]
    return min(most, limit) if topology.chip.platform == "tpu" else most


def share_of(topology: Topology) -> float:
    """Of a device's memory, what JAX takes: all of a TPU's, of a GPU's what its variables say.

    Raises ValueError for variables that JAX would refuse, and for a share that is none.
    """
    if topology.chip.platform != "gpu":
        return 1.0
    new, old = os.environ.get(NAME, ""), os.environ.get(OLD, "")
    if new and old:
        raise UserError(
            f"{OLD}={old} must not be set with {NAME}={new}, because JAX takes only one of them; "
            f"try without {OLD}, its old name"
        )
    name, text = (NAME, new) if new else (OLD, old)
    if not text:
        return USUAL
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise UserError(
            f"{name}={text} must be above 0 and at most 1, because it is the share of a GPU's "
            f"memory that JAX takes; try {NAME}={USUAL}"
        )
    return share


def limit_origin(topology: Topology) -> str:
    return "compiler" if topology.chip.platform == "tpu" else "CUDA's figure"


def fit_lines(fit: MemoryFit, topology: Topology) -> list[str]:
    """The table of what fills a device, then the verdict."""
    many = topology.chip.devices
    each = "a chip" if many == 1 else f"each of {many} devices of a chip"
    measure, factor = size_unit(fit.peak)

    def line(name: str, size: int, origin: str) -> str:
        share = f"{size / fit.limit:.1%}" if size < 10 * fit.limit else "> 999%"
        return f"{name:<36}{size / factor:>10,.2f}{share:>9}   {origin}"

    head = f"{'memory of ' + each:<36}{measure:>10}{'share':>9}   from"
    ruler = "-" * len(head)
    lines = [head, ruler, *(line(part.name, part.bytes, part.origin) for part in fit.parts), ruler]
    lines.append(line("peak" if fit.fits else "wanted", fit.peak, fit.peak_origin))
    lines.append(line("there is", fit.limit, limit_origin(topology)))
    if fit.host:
        lines.append(line("in the host's memory", fit.host, "compiler"))
    if fit.share == 1:
        return [*lines, "", fit.verdict]
    may = f"JAX takes {fit.share:.0%} of a GPU, {fit.share * fit.limit / GIB:.2f} GiB"
    if fit.variable is None:
        return [*lines, "", f"{fit.verdict}: {may}"]
    return [*lines, "", f"{may};", f"fits with {fit.variable} or more"]


def require_possible(run: RunConfig, topology: Topology) -> None:
    """ValueError if no layout has room even for the state, of which each slice has all: it names
    the memory that takes, and chips that would do."""
    parameters = parameter_count(run.model)
    state = parameters * state_bytes(run.train.optimizer, run.model)
    chips = topology.chips // topology.slices
    room = chips * topology.chip.memory
    if state <= room:
        return
    device, _ = device_of(topology)
    whose = "its chips have" if topology.slices == 1 else "the chips of a slice have"
    few = int(state // (ROOM * topology.chip.memory))
    more = advice(run, topology.chip, ROOM * device.memory, beyond=max(chips, few))
    raise UserError(
        f"on={topology.name} must hold the parameters and the optimizer's state, because every "
        f"layout keeps all of them, but the {parameters:,} parameters take at least "
        f"{state / GIB:,.0f} GiB and {whose} {room / GIB:,.0f} GiB (arithmetic); {more}"
    )
