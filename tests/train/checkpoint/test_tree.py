"""Names on disk, and what a model and a checkpoint can disagree about."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import PartitionSpec

from train.checkpoint.tree import differences, named_leaves, nested, placed


class Branch(nnx.Module):
    def __init__(self) -> None:
        self.kernel = nnx.Param(jnp.ones((8, 4)))


class Whole(nnx.Module):
    def __init__(self) -> None:
        self.blocks = nnx.List([Branch(), Branch()])


def test_names_are_paths_without_flax_or_optax_classes() -> None:
    model: Any = Whole()
    state = {"model": model, "optimizer": optax.adam(1e-3).init(model), "average": None}
    assert list(named_leaves(state)) == [
        "model/blocks/0/kernel",
        "model/blocks/1/kernel",
        "optimizer/0/count",
        "optimizer/0/mu/blocks/0/kernel",
        "optimizer/0/mu/blocks/1/kernel",
        "optimizer/0/nu/blocks/0/kernel",
        "optimizer/0/nu/blocks/1/kernel",
    ]


def test_nested_keeps_every_leaf_under_its_name() -> None:
    leaves = {"a/0/x": 1, "a/0/y": 2, "a/1/x": 3, "b": 4}
    assert nested(leaves) == {"a": {"0": {"x": 1, "y": 2}, "1": {"x": 3}}, "b": 4}
    assert named_leaves(nested(leaves)) == leaves


def test_placed_follows_the_spec_and_replicates_scalars() -> None:
    def tree() -> dict[str, jax.Array]:
        return {"w": jnp.ones((8, 4), out_sharding=PartitionSpec("x")), "step": jnp.zeros(())}

    mesh = jax.make_mesh((4,), ("x",), devices=jax.devices()[:4])
    with jax.set_mesh(mesh):
        leaves = {name: placed(leaf) for name, leaf in jax.eval_shape(tree).items()}
    shardings = {name: leaf.sharding for name, leaf in leaves.items()}
    assert shardings["w"] == jax.NamedSharding(mesh, PartitionSpec("x", None))
    assert shardings["step"] == jax.NamedSharding(mesh, PartitionSpec())
    assert placed(jax.ShapeDtypeStruct((), np.float32)).sharding.device_set == {jax.devices()[0]}


def test_differences_name_what_lacks_what_is_extra_and_what_differs() -> None:
    def leaf(*shape: int, dtype: str = "float32") -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    same = {"a": leaf(2), "b": leaf(3)}
    assert differences(same, same) == ""
    assert differences({**same, "c": leaf(1)}, same) == "it lacks c"
    assert differences(same, {**same, "c": leaf(1)}) == "only it has c"
    assert differences(same, {**same, "b": leaf(4)}) == "b is float32[4] there and float32[3] here"
    other = {**same, "b": leaf(3, dtype="bfloat16")}
    assert differences(same, other) == "b is bfloat16[3] there and float32[3] here"
    many = {f"c{i}": leaf(1) for i in range(9)}
    assert differences({}, many).endswith("only it has c4; and 4 more")
