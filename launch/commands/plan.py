"""The command `meshloom plan`: what a run will need on a cluster, without the cluster."""

import dataclasses
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from data.errors import UserError
from launch.config import MeshConfig, RunConfig
from launch.plan.layouts import nearest_batch
from launch.plan.topology import Topology, parse
from launch.presets.preset import preset
from launch.process.progress import Progress
from launch.run.arguments import (
    PretrainedOptions,
    StartOptions,
    split_preset,
    starting_config,
    with_weights,
)
from launch.schema.command_line import UsageError, parse_known, value_of, wants_help
from launch.schema.command_line import parse as parse_flags

FOLDER = Path("runs") / "plans"
MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
"""Behind a number of tokens, as people write them: 4M, 300B, 1.5T."""
MOST = 10**18
SEARCHED = ("--model.remat", "--train.accumulation")
"""Flags of what a layout settles with the mesh; the values of a preset are replaced."""
SETS = {"--batch-tokens": "--train.batch-size", "--tokens": "--train.steps"}
"""Flags in tokens, and what they set."""


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


def main(arguments: list[str]) -> None:
    """Run `meshloom plan ARGUMENTS`: print the plan, and write all of it into its folder."""
    options = plan_options(arguments)
    topology = parse(options.on)
    run = with_tokens(options, topology)
    if options.elastic:
        return print_scaling(run, topology, options)
    name = f"{run.preset}-on-{topology.name.replace(':', '-')}"
    folder = unused(FOLDER / name) if options.out is None else options.out
    require_folder(folder)
    text, record = "", {}
    with Progress() as report:
        report("starting")
        from launch.plan import pictures
        from launch.plan.plan import make_plan, plan_json, plan_text
        from launch.plan.search import search, search_json, search_text
        from train.cut import require_planned

        require_planned(run.model)
        if options.search:
            searched = search(run, topology, folder, report, price=options.price)
            pictures.draw_search(searched, folder / "search.png")
            text, record = search_text(searched, run) + "\n", {"search": search_json(searched, run)}
            plan = searched.best
        else:
            report(f"compiling for {topology.words}, which can take minutes")
            plan = make_plan(run, topology, folder, price=options.price)
        report("writing the plan's files")
        written = json.dumps(plan_json(plan) | record, indent=2)
        (folder / "plan.json").write_text(written + "\n", encoding="utf-8")
        pictures.draw_fit(plan, folder / "fit.png")
    print(written if options.json else text + plan_text(plan, folder))


def plan_options(arguments: list[str]) -> PlanOptions:
    """What `meshloom plan ARGUMENTS` asks; raises UsageError, exits as the parser does."""
    name, flags = split_preset(arguments)
    prog = f"meshloom plan {name or 'PRESET'}"
    base = starting_config(name, parse_known(StartOptions, flags, prog=prog), "plan")
    if spec := parse_known(PretrainedOptions, flags, prog=prog).start_from:
        base = with_weights(base, spec)
    if base is None:
        if not wants_help(flags):
            raise UsageError(
                "meshloom plan needs a preset, as in `meshloom plan llama3-8b --on v5p-128 "
                "--mesh.fsdp 64` (`meshloom presets` lists all)"
            )
        base = preset("llama3-8b")
    options = parse_flags(
        PlanOptions,
        flags,
        prog=prog,
        description=f"Defaults shown are those of {base.preset}; `meshloom presets` lists all.",
        default=PlanOptions(run=base),
    )
    if not options.on:
        raise UsageError("meshloom plan needs --on, the chips to plan for, as in --on v5p-128")
    require_used(options, arguments)
    return options


def require_used(options: PlanOptions, arguments: list[str]) -> None:
    """ValueError for flags among the arguments that another, --search or --elastic would not
    heed."""
    for flag, name in SETS.items():
        tokens, value = value_of(flag, arguments), value_of(name, arguments)
        if tokens is not None and value is not None:
            raise UserError(
                f"{name.removeprefix('--')}={value} must not be given with {flag} {tokens}, "
                f"because that sets it; try without {flag}, or without {name}"
            )
    if options.elastic and options.search:
        raise UserError(
            "search=True must not be given with --elastic, because that tries every layout by "
            "arithmetic alone; try without --search, or without --elastic"
        )
    if options.elastic and options.out is not None:
        raise UserError(
            f"out={options.out} must not be given with --elastic, because that writes no files; "
            "try without --out; --json prints all digits"
        )
    if not (options.elastic or options.search):
        return
    flag = "--elastic" if options.elastic else "--search"
    require_no_mesh(options.run, flag)
    for name in SEARCHED:
        if (value := value_of(name, arguments)) is not None:
            raise UserError(
                f"{name.removeprefix('--')}={value} must not be given with {flag}, because that "
                f"finds one; try without {flag}, or without {name}"
            )


def require_no_mesh(run: RunConfig, flag: str) -> None:
    """ValueError for a mesh of the run's own, where the flag asks for the best one."""
    if run.mesh != MeshConfig():
        from launch.process.mesh import shown

        sizes = dataclasses.asdict(run.mesh)
        usual = dataclasses.asdict(MeshConfig())
        axes = [f"--mesh.{axis} {usual[axis]}" for axis, n in sizes.items() if n != usual[axis]]
        raise UserError(
            f"mesh={shown(sizes)} must not be given with {flag}, because "
            f"that finds one; try {' '.join(axes)}, or without {flag}"
        )


def print_scaling(run: RunConfig, topology: Topology, options: PlanOptions) -> None:
    """Print the run on more and more of the topology's chips."""
    with Progress() as report:
        report("starting")
        from launch.plan.scaling import scaling, scaling_text
        from train.cut import require_planned

        require_planned(run.model)
        rows = scaling(run, topology.chip, options.price, report=report)
    text = scaling_text(run, topology.chip, rows)
    print(json.dumps([row.record for row in rows], indent=2) if options.json else text)


def unused(folder: Path) -> Path:
    """The folder, or with the first number behind its name that no other has: plans are kept."""
    names = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([folder], names) if not path.exists())


def require_folder(folder: Path) -> None:
    """ValueError if files cannot lie there, as a file has its name or that of a folder above, or
    another plan does."""
    if (folder / "plan.json").exists():
        raise UserError(
            f"out={folder} must hold no plan, because none is overwritten, but it has a plan.json; "
            f"try --out {unused(folder)}"
        )
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(
            f"out={folder} must be a folder, because a plan is several files, but {there} is a "
            "file; try --out runs/plans/mine"
        )


def with_tokens(options: PlanOptions, topology: Topology) -> RunConfig:
    """The run with the batch of --batch-tokens and the length of --tokens.

    A batch is the nearest number of rows that every micro-batch on every device can share, or
    that some layout cuts where one is looked for.
    """
    run = options.run
    train, length = run.train, run.data.sequence_length
    if options.batch_tokens is not None:
        wanted = count(options.batch_tokens, "batch_tokens", "4M") / length
        if options.search or options.elastic:
            whole = dataclasses.replace(train, batch_size=max(1, round(wanted)))
            rows = nearest_batch(dataclasses.replace(run, train=whole), topology)
        else:
            rows = nearest_cut(wanted, run, topology.devices)
        train = dataclasses.replace(train, batch_size=rows)
    if options.tokens is not None:
        steps = math.ceil(count(options.tokens, "tokens", "300B") / (train.batch_size * length))
        train = dataclasses.replace(train, steps=steps)
    return dataclasses.replace(run, train=train)


def nearest_cut(wanted: float, run: RunConfig, devices: int) -> int:
    """Rows nearest to `wanted` that the mesh of the run and its micro-batches share evenly.

    Raises ValueError for a mesh that the devices do not fill.
    """
    from launch.process.mesh import axis_sizes
    from model.sharding import batch_shards

    sizes = axis_sizes(run.mesh, devices)
    parts = batch_shards(sizes) * run.train.accumulation
    return max(1, round(wanted / parts)) * parts


def count(text: str, flag: str, example: str) -> int:
    """The number, decimal units; ValueError names the flag and the example to try."""
    number, unit = text.lower(), ""
    if number[-1:] in MULTIPLES:
        number, unit = number[:-1], number[-1:]
    try:
        value = round(float(number.replace("_", "")) * MULTIPLES[unit])
    except (ValueError, OverflowError):
        value = 0
    if not 1 <= value <= MOST:
        raise UserError(
            f"{flag}={text} must be a number from 1 to {MOST // 10**12:,}T, with K, M, B or T "
            f"behind it or nothing, because it counts; try --{flag.replace('_', '-')} {example}"
        )
    return value
