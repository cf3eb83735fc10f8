"""How long a step takes: a roofline over a chip's work, arithmetic's or the compiler's."""

from typing import NamedTuple

from launch.plan.efficiency import Efficiency
from launch.plan.placement import Placement
from launch.plan.work import Collective, Origin, Work
from model.families.family import FamilyConfig
from model.flops import flops_per_token
from train.chips import Chip


class Communication(NamedTuple):
    """The collectives over the same axes, of a step."""

    axes: tuple[str, ...]
    """Empty for groups that follow no axes."""
    fast: float
    """Seconds the fast links need."""
    network: float
    """Seconds the network needs for the same; both work at once."""

    @property
    def seconds(self) -> float:
        return max(self.fast, self.network)

    @property
    def early(self) -> bool:
        """Whether it can begin before its result is asked for."""
        return bool(self.axes) and "tensor" not in self.axes

    @property
    def slower(self) -> str:
        return "network" if self.network > self.fast else "links"


class StepTime(NamedTuple):
    """Seconds of one step and what they are made of."""

    compute: float
    """Matrix products."""
    memory: float
    """Memory traffic, which goes on during the products."""
    communication: tuple[Communication, ...]
    """By axes, the longest first."""
    hidden: float
    """Communication while products run."""
    origin: Origin
    """Where the work comes from."""
    products: Origin
    """Where its matrix products come from."""

    @property
    def chip(self) -> float:
        """What the chip does by itself: the longer of products and memory traffic."""
        return max(self.compute, self.memory)

    @property
    def exposed(self) -> float:
        """Communication that the chip waits for."""
        return sum(part.seconds for part in self.communication) - self.hidden

    @property
    def seconds(self) -> float:
        return self.chip + self.exposed

    def waiting(self, part: Communication) -> float:
        """Seconds of the exposed communication that are for one part of it."""
        if not part.early:
            return part.seconds
        early = sum(other.seconds for other in self.communication if other.early)
        return part.seconds * (1 - self.hidden / early) if early else 0.0


class Course(NamedTuple):
    """What a whole run takes."""

    tokens_per_second: float
    utilization: float
    """MFU: FLOPs of the model (`model.flops`; nothing for recomputation) over the chips' peak."""
    tokens: float
    days: float
    """Without stops."""
    chip_hours: float
    cost: float | None
    """At the price of a chip-hour; None without one."""


def step_time(work: Work, chip: Chip, placement: Placement, shares: Efficiency) -> StepTime:
    """Seconds of a step of that work on that chip.

    Products run at `shares.matmul` of their peak, memory traffic beside them at its peak. The chip
    waits for collectives over `tensor`, whose results the next product reads; of the others, which
    are known beforehand, `shares.overlap` is hidden behind its own work, if that lasts so long.
    """
    compute = work.matmul_flops / (chip.matmul_flops * shares.matmul)
    memory = work.memory_bytes / chip.memory_bandwidth
    sums: dict[tuple[str, ...], Communication] = {}
    for collective in work.collectives:
        fast, network = _seconds(collective, chip, placement, shares)
        known = sums.get(collective.axes, Communication(collective.axes, 0.0, 0.0))
        sums[collective.axes] = Communication(
            collective.axes, known.fast + fast, known.network + network
        )
    parts = tuple(sorted(sums.values(), key=lambda part: -part.seconds))
    early = sum(part.seconds for part in parts if part.early)
    hidden = min(shares.overlap * early, max(compute, memory))
    return StepTime(compute, memory, parts, hidden, work.origin, work.origin)


def _seconds(
    collective: Collective, chip: Chip, placement: Placement, shares: Efficiency
) -> tuple[float, float]:
    """On the fast links and on the network.

    Of what a ring of GPUs sends in all, the chips of a group that share a node carry equal parts
    across its border. A TPU's compiler cuts over the chips of a slice first and sends between
    slices what each is left with. Its program is that of one slice, where groups, which are no
    larger, use no network.
    """
    link = chip.link_bandwidth * shares.link
    network = chip.network_bandwidth * shares.network
    if collective.apart:
        return 0.0, collective.bytes / network
    (inner, outer, links), near = placement.joined(collective.axes), collective.bytes
    if outer == 1 or (chip.torus and collective.group <= inner):
        return near / (links * link), 0.0
    far = near
    if chip.torus:
        whole = collective.bytes / (1 - 1 / collective.group)
        near, far = whole * (1 - 1 / inner), whole * (1 - 1 / outer)
    return near / (links * link) if inner > 1 else 0.0, far / inner / network


def course(
    seconds: float,
    model: FamilyConfig,
    length: int,
    batch_size: int,
    chip: Chip,
    chips: int,
    *,
    tokens: float,
    price: float | None = None,
) -> Course:
    """A run of steps of so many seconds, each on `batch_size` rows; `price` is per chip-hour."""
    rate = batch_size * length / seconds
    used = rate * flops_per_token(model, length) / (chips * chip.matmul_flops)
    hours = tokens / rate / 3600
    spent = hours * chips
    return Course(rate, used, tokens, hours / 24, spent, None if price is None else spent * price)
