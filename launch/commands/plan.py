"""The command `meshloom plan`: what a run will need on a cluster, told without the cluster."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

from data.errors import UserError
from launch.config import RunConfig
from launch.plan.given import require_used
from launch.plan.layouts import nearest_batch
from launch.plan.options import PlanOptions
from launch.plan.topology import Topology, parse
from launch.presets.preset import preset
from launch.process.progress import Progress
from launch.run.arguments import StartOptions, split_preset, starting_config
from launch.schema.command_line import UsageError, parse_known, wants_help
from launch.schema.command_line import parse as parse_flags

FOLDER = Path("runs") / "plans"
MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
"""Behind a number of tokens, as people write them: 4M, 300B, 1.5T."""
MOST = 10**18


def main(arguments: list[str]) -> None:
    """Run `meshloom plan ARGUMENTS`: print the plan, and write all of it into its folder."""
    options = plan_options(arguments)
    topology = parse(options.on)
    run = with_tokens(options, topology)
    if options.elastic:
        return tell_elastic(run, topology, options)
    name = f"{run.preset}-on-{topology.name.replace(':', '-')}"
    folder = unused(FOLDER / name) if options.out is None else options.out
    require_folder(folder)
    found, before = None, ""
    with Progress() as report:
        report("starting")
        from launch.plan import picture, search, search_picture, search_show, show
        from launch.plan.plan import make_plan

        if options.search:
            found = search.search(run, topology, folder, report, price=options.price)
            search_picture.draw(found, folder / "search.png")
            before = search_show.as_text(found, run) + "\n"
            plan = found.best
        else:
            report(f"compiling for {topology.told}, which can take minutes")
            plan = make_plan(run, topology, folder, price=options.price)
        report("writing the plan's files")
        told = show.as_json(plan)
        if found:
            told["search"] = search_show.as_json(found, run)
        written = json.dumps(told, indent=2)
        (folder / "plan.json").write_text(written + "\n", encoding="utf-8")
        picture.draw(plan, folder / "fit.png")
    print(written if options.json else before + show.as_text(plan, folder))


def plan_options(arguments: list[str]) -> PlanOptions:
    """What `meshloom plan ARGUMENTS` asks; raises UsageError, exits as the parser does."""
    name, flags = split_preset(arguments)
    prog = f"meshloom plan {name or 'PRESET'}"
    base = starting_config(name, parse_known(StartOptions, flags, prog=prog), "plan")
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


def tell_elastic(run: RunConfig, topology: Topology, options: PlanOptions) -> None:
    """Print the run on more and more of the topology's chips."""
    with Progress() as report:
        report("starting")
        from launch.plan.elastic import elastic
        from launch.plan.elastic_table import elastic_json, elastic_text

        rows = elastic(run, topology.chip, options.price, report=report)
    text = elastic_text(run, topology.chip.name, rows)
    print(json.dumps(elastic_json(rows), indent=2) if options.json else text)


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
            rows = nearest_batch(
                dataclasses.replace(run, train=whole), topology.devices, topology.slices
            )
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
