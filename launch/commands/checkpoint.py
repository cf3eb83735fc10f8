"""The command `meshloom checkpoint`: list, verify, show, compare and prune a run's checkpoints.

Only `diff` reads arrays and imports jax.
"""

import json
import math
import re
import textwrap
import time
from pathlib import Path
from typing import Annotated, Any

import tyro

from data.errors import UserError
from data.fields import Count, Whole
from launch.commands.checkpoint_list import described
from launch.run.saved import open_run
from launch.run.signing import signing_key
from launch.schema.command_line import run_subcommand
from train.checkpoint import manifest
from train.checkpoint.folder import CheckpointFolder, kept_steps
from train.checkpoint.manifest import MANIFEST, Fault, check, fault_list
from train.config import CheckpointConfig
from train.report.numbers import in_unit

WIDTH = 80
LONG = 300
Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
A = Annotated[Whole, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
B = Annotated[Whole, tyro.conf.Positional, tyro.conf.arg(metavar="B")]


def main(arguments: list[str]) -> int | None:
    """Run `meshloom checkpoint list|verify|show|diff|prune`."""
    commands = {"list": list_steps, "verify": verify, "show": show, "diff": diff, "prune": prune}
    return run_subcommand(
        commands,
        arguments,
        prog="meshloom checkpoint",
        about="Look at a run's checkpoints, verify, compare and delete them.",
    )


def list_steps(run: Run, json: bool = False) -> None:
    """List the checkpoints of a run; sizes and names of files are compared.

    Args:
        run: Run directory.
        json: Print JSON, one object a checkpoint, in place of a table.
    """
    rows = [described(item) for item in _folder(run).items()]
    if json:
        return _print_json(rows)
    if not rows:
        print("there are no checkpoints yet")
        return
    print(f"{'step':>9}{'size':>10}{'age':>9}{'examples':>13}{'eval loss':>11}  state")
    for row in rows:
        loss = "" if row["eval_loss"] is None else f"{row['eval_loss']:.4f}"
        examples = "" if row["examples_seen"] is None else f"{row['examples_seen']:,}"
        print(
            f"{row['step']:>9}{_bytes(row['bytes']):>10}{_age(row['age']):>9}{examples:>13}"
            f"{loss:>11}  {row['state']}"
        )
        if row["why"]:
            print(textwrap.indent(textwrap.fill(row["why"], WIDTH - 11), " " * 11))


def verify(
    run: Run, step: Whole | None = None, sizes_only: bool = False, json: bool = False
) -> int:
    """Compare every file with the checkpoint's manifest; exit code 1 if any differs.

    Args:
        run: Run directory.
        step: Checkpoint to verify; all of them by default.
        sizes_only: Compare the sizes of the files, not their bytes.
        json: Print JSON, one object a checkpoint, in place of text.
    """
    folder, key = _folder(run), signing_key()
    steps = [item.step for item in folder.items() if item.kind == "step"]
    rows = []
    if step is not None or not steps:
        steps = [_existing(folder, steps, step)]
    for each in steps:
        began = time.monotonic()
        faults = check(folder.of(each), sizes_only=sizes_only, key=key)
        seconds = time.monotonic() - began
        if faults and not folder.of(each).exists():
            continue  # the run, which still trains, has deleted it meanwhile
        rows.append({"step": each, "good": not faults, "faults": [f._asdict() for f in faults]})
        if json:
            continue
        if faults:
            print(f"step {each} is bad:")
            print("\n".join(f"  {fault.file}: {fault.what}" for fault in faults))
        else:
            written = manifest.read(folder.of(each))
            speed = f", {_bytes(written.size / max(seconds, 1e-6))}/s" if not sizes_only else ""
            print(f"step {each} is good: {len(written.files)} files, {_bytes(written.size)}{speed}")
    if json:
        _print_json(rows)
    return int(not all(row["good"] for row in rows))


def show(run: Run, step: Whole | None = None, json: bool = False) -> None:
    """Show what is in a checkpoint: its meta, and shape and type of each array.

    Args:
        run: Run directory.
        step: Checkpoint to show; the latest by default.
        json: Print JSON in place of text.
    """
    folder = _folder(run)
    step = _existing(folder, folder.steps(), step)
    contents, meta = _read(folder, step)
    arrays = [
        {"name": name, "dtype": dtype, "shape": list(shape), "bytes": _array_bytes(dtype, shape)}
        for name, (dtype, shape) in contents.arrays.items()
    ]
    if json:
        return _print_json({"step": step, "bytes": contents.size, "meta": meta, "arrays": arrays})
    print(f"step {step}: {len(contents.files)} files, {_bytes(contents.size)} on disk")
    for name, value in meta.items():
        text = f"{name}: {_joined(value) or 'none' if isinstance(value, dict) else value}"
        if len(text) > LONG:
            text = f"{name}: long, see --json"
        print(textwrap.fill(text, WIDTH, subsequent_indent="  "))
    print(f"\n{'array':<48}{'shape':>15}{'type':>9}{'bytes':>8}")
    for array in arrays:
        shape = ",".join(map(str, array["shape"]))
        room = max(15, 63 - len(array["name"]))
        print(f"{array['name']:<{63 - room}}{shape:>{room}}{array['dtype']:>9}", end="")
        print(f"{_bytes(array['bytes']):>8}")
    total = sum(array["bytes"] for array in arrays)
    print(f"{len(arrays)} arrays, {_bytes(total)} in memory")


def diff(run: Run, a: A, b: B, other: Path | None = None, json: bool = False) -> None:
    """Show which arrays of two checkpoints differ, and by how much.

    Args:
        run: Run directory.
        a: Step of the checkpoint to compare.
        b: Step of the one to compare it with.
        other: Run directory of the second one, if it is another run.
        json: Print JSON, one object an array, in place of a table.
    """
    pair = []
    for directory, step in ((run, a), (other or run, b)):
        folder = _folder(directory)
        step = _existing(folder, folder.steps(), step, flag="")
        _require_good(folder, step, check(folder.of(step), key=signing_key()))
        pair.append(folder.of(step))
    from train.checkpoint.difference import compared

    rows = list(compared(*pair))
    if json:
        return _print_json(rows)
    different = [row for row in rows if row["what"] != "equal"]
    if different:
        print(f"{'array':<48}{'max abs':>11}{'relative':>11}")
    for row in different:
        numbers = row["what"]
        if numbers == "differs":
            numbers = f"{row['max_abs']:>11.3g}{row['relative']:>11.3g}"
        print(f"{row['name']:<48}{numbers}")
    print(f"{len(rows) - len(different)} of {len(rows)} arrays are equal to the bit")
    if different:
        print("relative: norm of the difference over the norm of the first")


def prune(run: Run, keep_latest: Count, keep_every: Count | None = None, yes: bool = False) -> None:
    """Delete old checkpoints, never a damaged one; without --yes only list them.

    Args:
        run: Run directory.
        keep_latest: How many of the newest to keep.
        keep_every: Also keep those whose step is a multiple of this.
        yes: Delete them.
    """
    folder = _folder(run)
    sizes = {
        item.step: manifest.read(item.path).size
        for item in folder.items()
        if item.kind == "step" and not check(item.path, sizes_only=True, key=signing_key())
    }
    rule = CheckpointConfig(keep_latest=keep_latest, keep_every=keep_every)
    keep = kept_steps(sizes, {}, rule)
    doomed = sorted(sizes.keys() - keep)
    if doomed and (faults := check(folder.of(newest := max(keep)), key=signing_key())):
        raise UserError(
            f"checkpoint={folder.of(newest)} must be as it was written, because it is the newest "
            f"and older ones are deleted in its favour, but {fault_list(faults)}; "
            f"try moving it out of {folder.path}"
        )
    for step in doomed:
        print(f"{'deleting' if yes else 'would delete'} step {step}, {_bytes(sizes[step])}")
        if yes:
            folder.delete(step)
    print(f"kept: step {', '.join(map(str, sorted(keep))) or 'none'}")
    freed = _bytes(sum(sizes[step] for step in doomed))
    if doomed:
        print(f"{freed} freed" if yes else f"{freed} would be freed; add --yes to delete them")


def _folder(run: Path) -> CheckpointFolder:
    return open_run(run).checkpoints


def _existing(
    folder: CheckpointFolder, steps: list[int], step: int | None, flag: str = "--step "
) -> int:
    """The step asked for, by `flag`, or the latest; ValueError if it is not there."""
    if steps and (step is None or step in steps):
        return steps[-1] if step is None else step
    offer = f"{flag}{' or '.join(map(str, steps[-5:]))}" if steps else "a run that has saved"
    wanted = "a checkpoint" if step is None else f"step {step}"
    raise UserError(
        f"checkpoints={folder.path} must hold {wanted}, because its files are to be read; "
        f"try {offer}"
    )


def _read(folder: CheckpointFolder, step: int) -> tuple[manifest.Manifest, dict[str, Any]]:
    try:
        return manifest.read(folder.of(step), signing_key()), folder.meta(step)
    except (OSError, ValueError) as error:
        faults = check(folder.of(step), key=signing_key())
        _require_good(folder, step, faults or [Fault(MANIFEST, str(error))])
        raise


def _require_good(folder: CheckpointFolder, step: int, faults: list[Fault]) -> None:
    if faults:
        raise UserError(
            f"checkpoint={folder.of(step)} must be as it was written, because it is read, but "
            f"{fault_list(faults)}; try another step"
        )


def _array_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    bits = re.search(r"\d+", dtype)
    return math.ceil(math.prod(shape) * (int(bits[0]) if bits else 8) / 8)


def _joined(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _bytes(count: float) -> str:
    number, unit = in_unit(count, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)))
    return f"{number:.3g} {unit}" if unit else f"{count:.0f} B"


def _age(seconds: float) -> str:
    number, unit = in_unit(seconds, (("d", 86400), ("h", 3600), ("min", 60)))
    return f"{number:.3g} {unit}" if unit else f"{max(seconds, 0):.0f} s"


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))
