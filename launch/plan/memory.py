"""Whether a step fits a device, and what fills it: the compiler's peak, split by arithmetic."""

from typing import Literal, NamedTuple

from data.errors import UserError
from launch.config import RunConfig
from launch.plan.compiler import Compiled, TooLarge
from launch.plan.elastic import ROOM
from launch.plan.enough import advice
from launch.plan.share import MOST, share_of, wanted
from launch.plan.timing import device_of
from launch.plan.topology import Topology
from launch.plan.work import Origin
from model.flops import parameter_count
from train.optimizer.memory import state_bytes
from train.report.numbers import GIB

Verdict = Literal["fits", "fits if a process may take more", "does not fit"]


class Part(NamedTuple):
    """Bytes on one device that are there for one reason."""

    name: str
    bytes: int
    origin: Origin


class Fit(NamedTuple):
    """What a step takes of one device."""

    verdict: Verdict
    peak: int
    """Of a step that does not fit, what it wanted."""
    whole: bool
    """Whether the peak is all the compiler's; else it told of the temporaries alone, and the rest
    is arithmetic."""
    limit: int
    """What the compiler gives a program on a TPU; all memory of a GPU."""
    share: float
    """Of the limit, what JAX takes."""
    parts: tuple[Part, ...]
    """They sum to the peak."""
    host: int
    """Bytes in the memory of the host, by the compiler."""

    @property
    def most(self) -> float:
        """Bytes that a process can be given."""
        return self.limit * max(self.share, MOST)

    @property
    def variable(self) -> str | None:
        """What a shell must set for the process to take as much, if JAX's share is not enough."""
        if self.verdict != "fits if a process may take more":
            return None
        return wanted(self.peak / self.limit)


def fit_of(result: Compiled | TooLarge, topology: Topology) -> Fit:
    """The compiler's peak with what is known of it by arithmetic taken out; the rest is what the
    step computes in between.

    The peak is at least what the step is given. Gradients are as large as the parameters, in
    float32, all at once, unless the compiler found less room enough.
    """
    logical = dict(result.logical)
    kept = {
        "parameters": logical["parameters"],
        "optimizer": logical["optimizer"],
        "moving average": logical["average"],
        "batch": logical["batch"],
    }
    given = sum(kept.values())
    if isinstance(result, Compiled):
        peak, whole = _peak(result, topology), True
        padding, host = result.arguments - given, result.host
    else:
        peak, whole = max(result.needed, given), result.whole and result.needed >= given
        padding, host = 0, 0
    rest = peak - given - padding
    gradients = min(kept["parameters"], rest)
    parts = [Part(name, size, "arithmetic") for name, size in kept.items() if size]
    parts += [
        Part("padding of these", padding, "compiler"),
        Part("gradients", gradients, "arithmetic"),
        Part("activations and temporaries", rest - gradients, "compiler"),
    ]
    share = share_of(topology)
    verdict: Verdict = "does not fit"
    if isinstance(result, Compiled) and peak <= share * result.limit:
        verdict = "fits"
    elif isinstance(result, Compiled) and share < MOST and peak <= MOST * result.limit:
        verdict = "fits if a process may take more"
    return Fit(verdict, peak, whole, result.limit, share, tuple(p for p in parts if p.bytes), host)


def _peak(result: Compiled, topology: Topology) -> int:
    """Of the device's memory. Where a step keeps something in the host's, the compiler tells one
    peak for both, so that all the device is given stands for it; a TPU's compiler breaks off for a
    step that takes more than there is, so that it is no more than that."""
    if not result.host:
        return max(result.peak, result.arguments)
    most = result.arguments + result.temporaries
    return min(most, result.limit) if topology.chip.platform == "tpu" else most


def require_possible(run: RunConfig, topology: Topology) -> None:
    """ValueError if no layout can hold even the state, of which each slice has all: it names the
    least memory, and chips that would do."""
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
