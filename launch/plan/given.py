"""What is given to a plan that looks for layouts, and would be thrown away, is refused."""

import dataclasses

from data.errors import UserError
from launch.config import MeshConfig, RunConfig
from launch.plan.options import PlanOptions
from launch.schema.command_line import value_of

FOUND = ("--model.remat", "--train.accumulation")
"""Flags of what a layout settles beside the mesh; a preset's own values are replaced."""


SET = {"--batch-tokens": "--train.batch-size", "--tokens": "--train.steps"}
"""Flags in tokens, and what they set."""


def require_used(options: PlanOptions, arguments: list[str]) -> None:
    """ValueError for flags among the arguments that another, --search or --elastic would not
    heed."""
    for flag, name in SET.items():
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
    for name in FOUND:
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
