"""The state as named arrays: a checkpoint has paths, shapes and types, but no Python class."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding

SHOWN_DIFFERENCES = 5


def named_leaves(tree: object) -> dict[str, Any]:
    """Leaves by path, `model/blocks/mlp/up/kernel`; Flax's Param adds no part of its own."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    named: dict[str, Any] = {}
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
        assert name not in named, f"two leaves are called {name}"
        named[name] = leaf
    return named


def nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The same leaves as dicts in dicts, one for each part of the paths."""
    root: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *parents, last = name.split("/")
        node = root
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = leaf
    return root


def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """`leaf` laid out on the devices of the current mesh: by its own spec, else replicated."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        sharding: Sharding = SingleDeviceSharding(jax.local_devices()[0])
    else:
        named = isinstance(leaf.sharding, NamedSharding)
        sharding = NamedSharding(mesh, leaf.sharding.spec if named else PartitionSpec())
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def differences(wanted: Mapping[str, Any], stored: Mapping[str, Any]) -> str:
    """What a model and a checkpoint disagree about, the first few; empty if they agree."""
    lines = [f"it lacks {name}" for name in wanted if name not in stored]
    lines += [f"only it has {name}" for name in stored if name not in wanted]
    for name in wanted:
        if name in stored and _form(wanted[name]) != _form(stored[name]):
            lines.append(f"{name} is {_form(stored[name])} there and {_form(wanted[name])} here")
    more = len(lines) - SHOWN_DIFFERENCES
    return "; ".join(lines[:SHOWN_DIFFERENCES]) + (f"; and {more} more" if more > 0 else "")


def _form(leaf: Any) -> str:
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
