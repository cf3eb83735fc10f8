import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from launch.run.build import step_arguments
from model.families.decoder import Decoder
from model.families.decoder_config import DecoderConfig
from model.generate import prefill, slots
from model.layers import scaled
from model.sharding import abstract_mesh
from tests.families import FAMILIES, GPT, QUICK, fresh_model, rows
from tests.models import TRAIN, batch_of, changed, mesh_of, placed, shapes_of
from train.optimizer.transform import gradient_transform
from train.state import init_state
from train.step import gradients, make_train_step


def scaled_from(config: DecoderConfig, **base: Any) -> DecoderConfig:
    """`config` under muP and CompleteP, with its own sizes as the base where none are given."""
    own = {"base_width": config.embed_dim, "base_depth": config.num_layers}
    scaling = {"parametrization": "mup", "depth_scaling": "linear"}
    return dataclasses.replace(config, **{**own, **scaling, **base})


# Four times the base's width and depth, heads four times as wide.
GROWN = {"base_width": 4, "base_depth": 2, "base_head_dim": 1}
DEEP = {"num_layers": 8, **GROWN}


def factors(config: DecoderConfig) -> dict[str, tuple[float, float]]:
    """Factors on rate and gradient by the parameter's path."""
    with jax.sharding.use_abstract_mesh(abstract_mesh()):
        model = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(
        model, is_leaf=lambda node: isinstance(node, nnx.Param)
    )
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            weight.get_metadata()["rate_factor"],
            weight.get_metadata()["gradient_factor"],
        )
        for path, weight in leaves
    }


@pytest.mark.parametrize("family", ["gpt", "llama", "palm"])
def test_at_the_base_the_train_step_is_the_standard_step(family: str) -> None:
    """Not one operation differs, so that not one bit can."""

    def program(config: DecoderConfig) -> str:
        fresh = jax.jit(lambda: init_state(config, TRAIN.optimizer, jax.random.key(0))).trace()
        step = make_train_step(TRAIN)
        traced = step.trace(*step_arguments(fresh.out_info, shapes_of(TRAIN.batch_size)))
        return f"{fresh.jaxpr}{traced.jaxpr}"

    config = FAMILIES[family]
    base = scaled_from(config, base_head_dim=config.head_dim)
    with jax.sharding.use_abstract_mesh(abstract_mesh()):
        assert program(base) == program(config)
        wide = scaled_from(config, base_width=1)
        assert program(wide) != program(config)
    assert set(factors(base).values()) == {(1.0, 1.0)}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("depth_scaling", "block_rate", "back"), [("sqrt", 2, 2), ("linear", 1, 4)]
)
def test_factors_by_kind_of_parameter(
    family: str, depth_scaling: str, block_rate: int, back: int
) -> None:
    """Four times the base's width and depth. Matrices learn slower, tables and vectors do not."""
    config = scaled_from(FAMILIES[family], **DEEP, depth_scaling=depth_scaling)
    for name, (rate, gradient) in factors(config).items():
        in_block = name.startswith("blocks/")
        wide = 4 if name.split("/")[-1].startswith("w_") else 1
        assert rate == 1 / wide / (block_rate if in_block else 1), name
        assert gradient == 4 * (back if in_block else 1), name
    assert any(name.endswith("norm/scale") for name in factors(config))


@pytest.mark.parametrize("family", ["gpt", "llama"])
def test_initial_weights_shrink_as_they_declare(family: str) -> None:
    """At one shape, with bases of a quarter: the same random numbers, matrices half as large."""
    config = dataclasses.replace(FAMILIES[family], num_layers=4)
    with jax.set_mesh(mesh_of()):
        standard, actual = (
            jax.jit(lambda c=c: Decoder(c, jax.random.key(0)), compiler_options=QUICK)()
            for c in (config, scaled_from(config, base_width=4, base_depth=1))
        )
    for (path, a), b in zip(
        jax.tree_util.tree_leaves_with_path(standard), jax.tree.leaves(actual), strict=True
    ):
        name = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
        # What writes to the residual stream keeps the size it has in one layer: twice that of four.
        factor = {"w_o": 1.0, "w_down": 1.0}.get(name.split("/")[-1], 0.5 if "/w_" in name else 1.0)
        np.testing.assert_allclose(b, np.asarray(a) * factor, rtol=1e-6, err_msg=name)


def test_standard_deviations_at_the_base_and_beyond() -> None:
    base = scaled_from(GPT)
    assert (base.matrix_std, base.residual_std) == (0.3, 0.3 / math.sqrt(2 * 2))
    grown = scaled_from(GPT, **DEEP)
    assert (grown.matrix_std, grown.residual_std) == (0.15, 0.15 / math.sqrt(2 * 2))


def test_scaling_keeps_the_type_and_by_1_is_no_operation() -> None:
    x = jnp.full((2, 3), 100.0, jnp.bfloat16)
    assert scaled(x, 1.0) is x
    third = scaled(x, 1 / 3)
    assert third.dtype == x.dtype
    # One third as bfloat16 would make 33.5.
    np.testing.assert_array_equal(third, jnp.full((2, 3), 33.25, jnp.bfloat16))


@pytest.mark.parametrize("family", ["gpt", "palm"])
def test_activations_are_scaled_where_the_papers_say(family: str) -> None:
    """The scaled model is the standard one with other weights and other final states."""
    plain = FAMILIES[family]
    config = scaled_from(plain, base_width=4, base_depth=1, base_head_dim=1)
    tokens = np.random.default_rng(0).integers(0, 29, (1, 12), dtype=np.int32)

    def standing_in(model: Decoder) -> Decoder:
        """The same weights, with the factors put into them."""
        factor = {"w_q": 0.5, "b_q": 0.5, "w_o": 0.5, "b_o": 0.5, "w_down": 0.5, "b_down": 0.5}

        def change(path: Any, weight: jax.Array) -> jax.Array:
            name = jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
            looked_up = plain.scale_embedding and name == "embedding/table"
            return weight * (0.5 if looked_up else factor.get(name.split("/")[-1], 1.0))

        return with_config(jax.tree_util.tree_map_with_path(change, model), plain)

    with jax.set_mesh(mesh_of()):
        model = fresh_model(config)
        places = slots(jnp.ones(tokens.shape, bool), 2)
        runs = jax.jit(
            lambda m, ids: (m(ids), standing_in(m)(ids), prefill(m, ids, places)[0]),
            compiler_options=QUICK,
        )
        actual, wanted, decoded = runs(model, rows(tokens))
    np.testing.assert_allclose(actual, wanted / 4, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(decoded, actual, rtol=1e-4, atol=1e-5)


def with_config(model: Decoder, config: DecoderConfig) -> Decoder:
    """The same weights under another config of the same shapes."""
    other = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
    return jax.tree.unflatten(jax.tree.structure(other), jax.tree.leaves(model))


@pytest.mark.parametrize("name", ["adamw", "lion"])
def test_updates_have_the_declared_rates_on_every_mesh(name: str) -> None:
    """Epsilon as large as the gradients shows that it counts as at the base."""
    config = scaled_from(GPT, base_width=4, base_depth=1)
    optimizer = changed(TRAIN, name=name, weight_decay=0.5, epsilon=0.25).optimizer
    transform = gradient_transform(optimizer)

    def first(key: jax.Array) -> tuple[Decoder, Decoder, Decoder]:
        model = jax.tree.map(lambda p: p + 0.1, Decoder(config, key))
        grads = jax.tree.map(lambda p: 0.25 * p + 0.125, model)
        return model, grads, transform.update(grads, transform.init(model), model)[0]

    actual = {}
    for shape in ({}, {"fsdp": 2, "tensor": 2}):
        with jax.set_mesh(mesh_of(**shape)):
            actual[len(shape)] = jax.jit(first, compiler_options=QUICK)(jax.random.key(0))
    for single, many in zip(*map(jax.tree.leaves, actual.values()), strict=True):
        np.testing.assert_allclose(single, many, rtol=1e-5)
    model, grads, updates = actual[0]
    for part, rate, back, decay in (
        (lambda m: m.blocks.mlp.w_up, 0.25, 8, 0.5),
        (lambda m: m.blocks.mlp.b_up, 1.0, 8, 0.0),
        (lambda m: m.embedding.table, 1.0, 4, 0.5),
        (lambda m: m.final_norm.scale, 1.0, 4, 0.0),
    ):
        p, g, u = (np.asarray(part(tree)[...]) for tree in (model, grads, updates))
        direction = back * g / (np.abs(back * g) + 0.25) if name == "adamw" else np.sign(g)
        np.testing.assert_allclose(u, rate * direction + decay * p, rtol=1e-4, atol=1e-5)


SMALL = scaled_from(
    dataclasses.replace(GPT, embed_dim=32, num_heads=4, num_kv_heads=4, mlp_dim=64, num_layers=1),
    init_std=0.1,
)
WIDE = dataclasses.replace(SMALL, embed_dim=128, num_heads=16, num_kv_heads=16, mlp_dim=256)


@functools.cache
def typical_gradients(config: DecoderConfig) -> dict[str, tuple[float, float]]:
    """Median size of a gradient's entries, and the same scaled, by parameter."""
    with jax.set_mesh(mesh_of()):
        step = functools.partial(gradients, config=TRAIN)
        batch = placed(batch_of(V=29))
        _, grads, _ = jax.jit(step, compiler_options=QUICK)(fresh_model(config), batch)
        attention, mlp = grads.blocks.attention, grads.blocks.mlp
        chosen = (attention.w_v, attention.w_o, mlp.w_up, mlp.b_up, grads.embedding.table)
        sizes = [float(np.median(np.abs(grad[...]))) for grad in chosen]
    return {
        f"{number} {grad.get_metadata()['logical']}": (
            size,
            size * grad.get_metadata()["gradient_factor"],
        )
        for number, (grad, size) in enumerate(zip(chosen, sizes, strict=True))
    }


@pytest.mark.parametrize("larger", [WIDE, dataclasses.replace(SMALL, num_layers=8)])
def test_gradients_have_the_size_of_the_base_once_they_are_scaled(larger: DecoderConfig) -> None:
    """Within a factor of two, where the model is 4 times as wide or 8 times as deep."""
    before, after = typical_gradients(SMALL), typical_gradients(larger)
    assert any(after[name][0] < 0.5 * before[name][0] for name in before)
    for name in before:
        assert 0.5 < after[name][1] / before[name][1] < 2, name
