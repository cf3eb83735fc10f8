"""How long a step takes: a roofline over a chip's work, arithmetic's or the compiler's; and what
that makes of a whole run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from launch.config import RunConfig
from launch.plan.efficiency import Efficiency, efficiency, fitted_on
from launch.plan.placement import Placement, place
from launch.plan.program.compiled import ProgramWork
from launch.plan.topology import Topology
from launch.plan.work import Collective, Origin, Work, work_of
from model.flops import flops_per_token
from train.chips import Chip
from train.memory import device_step

SOURCES = {"compiler": "the compiler's program", "arithmetic": "arithmetic"}


@dataclass(frozen=True)
class Communication:
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

    @property
    def name(self) -> str:
        return " x ".join(self.axes) or "other groups"


@dataclass(frozen=True)
class StepTime:
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

    @property
    def source(self) -> str:
        """Where the time, and all that follows from it, comes from."""
        return f"arithmetic roofline over {SOURCES[self.origin]}"

    @property
    def longest_wait(self) -> tuple[Communication, float] | None:
        """The communication that the chip waits for longest, and its share of the step."""
        if not self.communication:
            return None
        early = sum(part.seconds for part in self.communication if part.early)

        rest = 1 - self.hidden / early if early else 1.0
        waits = {part: part.seconds * (rest if part.early else 1) for part in self.communication}
        longest = max(waits, key=waits.__getitem__)
        return longest, waits[longest] / self.seconds

    @property
    def record(self) -> dict[str, Any]:
        """For JSON."""
        parts = [{**asdict(part), "seconds": part.seconds} for part in self.communication]
        derived = {"communication": parts, "exposed": self.exposed, "seconds": self.seconds}
        return asdict(self) | derived


@dataclass(frozen=True)
class RunTotals:
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

    Products run at `shares.matmul` of their peak, memory traffic next to them at its peak. The chip
    waits for collectives over `tensor`, whose results the next product reads; of the others, which
    are known beforehand, `shares.overlap` is hidden behind its own work, if that lasts so long.
    """
    compute = work.matmul_flops / (chip.matmul_flops * shares.matmul)
    memory = work.memory_bytes / chip.memory_bandwidth
    sums: dict[tuple[str, ...], tuple[float, float]] = {}
    for collective in work.collectives:
        fast, network = _seconds(collective, chip, placement, shares)
        known = sums.get(collective.axes, (0.0, 0.0))
        sums[collective.axes] = known[0] + fast, known[1] + network
    parts = [Communication(axes, *seconds) for axes, seconds in sums.items()]
    parts.sort(key=lambda part: -part.seconds)
    early = sum(part.seconds for part in parts if part.early)
    hidden = min(shares.overlap * early, max(compute, memory))
    return StepTime(compute, memory, tuple(parts), hidden, work.origin, work.origin)


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


def device_of(topology: Topology) -> tuple[Chip, tuple[int, ...]]:
    """What one device of the topology gives, and the torus of a slice in devices: the devices of a
    chip share its figures and its links, and stand side by side along the last dimension."""
    chip, shape, many = topology.chip, topology.shape, topology.chip.devices
    if not chip.torus:
        return chip, ()
    each = chip._replace(
        matmul_flops=chip.matmul_flops / many,
        memory=chip.memory // many,
        memory_bandwidth=chip.memory_bandwidth / many,
        link_bandwidth=chip.link_bandwidth / many,
        network_bandwidth=chip.network_bandwidth / many,
    )
    return each, (*shape[:-1], shape[-1] * many)


def time_of(
    config: RunConfig,
    sizes: Mapping[str, int],
    topology: Topology,
    program: ProgramWork | None = None,
) -> StepTime:
    """Of one step on a mesh of those axes, by the compiled program's work or, without one, by
    arithmetic's.

    Where kernels of the program do not say their products, arithmetic's are taken for all.
    """
    device, shape = device_of(topology)
    axes, data, length = dict(sizes), config.data, config.data.sequence_length
    rows = {"packed": data.packing, "scored": data.scored_share}
    step = device_step(config.model, config.train, length, axes, device.platform, **rows)
    work = work_of(config.model, config.train, length, step)
    products: Origin = "arithmetic"
    if program is not None and program.uncounted:
        work = program.work._replace(matmul_flops=work.matmul_flops)
    elif program is not None:
        work, products = program.work, "compiler"
    time = step_time(work, device, place(device, axes, shape), efficiency(device))
    return replace(time, products=products)


def totals_of(
    config: RunConfig, topology: Topology, seconds: float, price: float | None = None
) -> RunTotals:
    """Of all steps of the run, each of so many seconds; `price` is that of a chip-hour."""
    length, train = config.data.sequence_length, config.train
    rate = train.batch_size * length / seconds
    peak = topology.chips * topology.chip.matmul_flops
    used = rate * flops_per_token(config.model, length, config.data.scored_share) / peak
    tokens = train.steps * train.batch_size * length
    hours = tokens / rate / 3600
    spent = hours * topology.chips
    cost = None if price is None else spent * price
    return RunTotals(rate, used, tokens, hours / 24, spent, cost)


def time_lines(
    time: StepTime, totals: RunTotals, topology: Topology, *, host: int = 0
) -> list[str]:
    """Seconds of a step by what they are spent on, then the whole run, in at most 80 columns;
    `host` is how many bytes of a device lie in the host's memory."""
    share, like = efficiency(topology.chip).matmul, fitted_on(topology.chip)
    unit, factor = ("seconds", 1.0) if time.seconds >= 1 else ("ms", 1e3)

    def line(name: str, seconds: float, note: str = "") -> str:
        return f"{name:<36}{seconds * factor:>10.3f}   {note}".rstrip()

    head = f"{'time of a step':<36}{unit:>10}"
    lines = [
        f"time: {time.source}",
        head,
        "-" * len(head),
        line("products", time.compute, f"{share:.0%} of peak, fitted on {like}"),
        line("memory traffic", time.memory, "while products run"),
    ]
    for part in time.communication:
        lines.append(line(f"collectives over {part.name}", part.seconds, f"by {part.slower}"))
    if time.hidden:
        lines.append(line("hidden behind the products", -time.hidden))
    lines += ["-" * len(head), line("step", time.seconds, f"MFU {totals.utilization:.1%}"), ""]
    if time.products != time.origin:
        lines.append("products are arithmetic's, as the program's kernels do not say theirs")
    if host:
        lines.append("what goes to the host's memory and back is not counted in the time")
    cost = "" if totals.cost is None else f", cost {totals.cost:,.0f}"
    hours = totals.chip_hours
    return [
        *lines,
        f"{totals.tokens_per_second:,.0f} tokens/s; {totals.tokens:,.0f} tokens take "
        f"{_lasting(totals.days)},",
        f"{f'{hours:,.0f}' if hours >= 10 else f'{hours:.2g}'} chip-hours{cost}",
    ]


def _lasting(days: float) -> str:
    for unit, many in (("days", 1), ("hours", 24), ("minutes", 1440)):
        if days * many >= 1:
            return f"{days * many:,.1f} {unit}"
    return f"{days * 86_400:,.1f} seconds"
