"""Shapes, layouts and bytes of a train state on a mesh without devices, as a table:
`python -m tests.bench.shapes gpt3-175b --fsdp 32 --tensor 8`."""

import dataclasses
from typing import Annotated, Any

import jax
import tyro

from data.fields import Size
from launch.presets.preset import preset
from launch.process.mesh import shown
from launch.run.build import fresh_state
from launch.schema.command_line import run_module
from model.sharding import abstract_mesh
from model.weights import Weight, weights
from train.memory import ArrayBytes, array_bytes
from train.report.numbers import GIB, MIB
from train.state import TrainState

FLOAT = 4
"""Bytes of a parameter."""


def main(
    name: Annotated[str, tyro.conf.Positional], replica: Size = 1, fsdp: Size = 1, tensor: Size = 1
) -> None:
    """Print the table of a preset.

    Args:
        name: Of the preset.
        replica: Size of that mesh axis.
        fsdp: Likewise.
        tensor: Likewise; a vocabulary is padded for it.
    """
    run = preset(name)
    model = cut_evenly(run.model, tensor)
    with jax.sharding.use_abstract_mesh(abstract_mesh(replica=replica, fsdp=fsdp, tensor=tensor)):
        state = jax.eval_shape(fresh_state(model, run.train))
    print(table(state), end="")


def cut_evenly(model: Any, tensor: int) -> Any:
    """The model with its vocabulary, if it has one, padded for the mesh axis."""
    return model if model.vocabulary is None else dataclasses.replace(model, vocab_multiple=tensor)


def table(state: TrainState) -> str:
    """Parameters with layouts and bytes on a device, then totals; at most 80 columns wide.

    `state` is what `jax.eval_shape(fresh_state(...))` returns under the mesh. Layers are shown
    once, without their stacked dimension; their bytes are those of all layers.
    """
    rows = weights(state.model)
    mesh = jax.tree.leaves(state.model)[0].sharding.mesh
    head = _line("parameter", "shape", "cut over", "MiB a device")
    lines = [f"{mesh.size} devices: {shown(dict(mesh.shape))}", "", head, "-" * len(head)]
    lines += [_weight(row) for row in rows if not row.stacked]
    layers = [row for row in rows if row.stacked]
    if layers:
        lines.append(f"each of {layers[0].layers} layers (bytes of all of them)")
        lines += [_weight(row) for row in layers]
    count = sum(row.size for row in rows)
    parts = {"parameters": state.model, "optimizer state": state.optimizer}
    if state.average is not None:
        parts["moving average"] = state.average
    lines += ["", f"{count:,} parameters", f"{'':<24}{'GiB in all':>14}{'GiB a device':>16}"]
    lines += [_total(name, array_bytes(part)) for name, part in parts.items()]
    lines.append(_total("train state", array_bytes(state)))
    return "\n".join(lines) + "\n"


def _weight(row: Weight) -> str:
    shape = " x ".join(map(str, row.shape))
    entries = list(row.layout)[row.stacked :]
    names = ["+".join(e) if isinstance(e, tuple) else e or "-" for e in entries]
    layout = " x ".join(names) if any(entries) else "not cut"
    name = row.name.replace("blocks/", "")
    return _line("  " * row.stacked + name, shape, layout, f"{FLOAT * row.device_size / MIB:,.2f}")


def _line(name: str, shape: str, layout: str, size: str) -> str:
    # A long entry takes of the room for the next.
    line = ""
    for entry, end in ((name, 26), (shape, 46), (layout, 66)):
        line = f"{line}{entry} ".ljust(end)
    return line + size.rjust(78 - len(line))


def _total(name: str, part: ArrayBytes) -> str:
    return f"{name:<24}{part.total / GIB:>14,.2f}{part.device / GIB:>16,.2f}"


if __name__ == "__main__":
    run_module(main, "tests.bench.shapes")
