import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.attention.mask import Mask, TokenPlaces
from model.families.decoder import Decoder
from model.families.decoder_config import DecoderConfig
from model.families.decoder_layers import layers_of
from model.flops import parameter_count
from model.layers import sinusoidal
from tests.families import BANDED, FAMILIES, GPT, LLAMA, PALM, QUICK, VASWANI, fresh_model
from tests.models import TRAIN, batch_of, mesh_of, placed
from train.step import gradients

POLICIES = ("none", "dots", "full")
DEEP = dataclasses.replace(GPT, num_layers=5)


def loss_and_gradients(model: Decoder) -> tuple[float, list[np.ndarray], str]:
    """With the jaxpr they were traced to."""
    with jax.set_mesh(mesh_of()):
        step = functools.partial(gradients, config=TRAIN)
        batch = placed(batch_of(T=8, V=model.config.vocab_size))
        traced = jax.jit(step, compiler_options=QUICK).trace(model, batch)
        loss, grads, _ = traced.lower().compile()(model, batch)
    return float(loss), [np.asarray(g) for g in jax.tree.leaves(grads)], str(traced.jaxpr)


def with_config(model: Decoder, **changes: object) -> Decoder:
    """The same parameters in a model whose config differs."""
    config = dataclasses.replace(model.config, **changes)
    with jax.set_mesh(mesh_of()):
        wanted = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
    return jax.tree.structure(wanted).unflatten(jax.tree.leaves(model))


@pytest.fixture(scope="module")
def by_policy() -> dict[str, tuple[float, list[np.ndarray], str]]:
    """What each rematerialization policy gives for the same parameters."""
    with jax.set_mesh(mesh_of()):
        model = fresh_model(DEEP)
    return {policy: loss_and_gradients(with_config(model, remat=policy)) for policy in POLICIES}


def test_remat_does_not_change_loss_and_gradients(by_policy) -> None:
    loss, grads, _ = by_policy["none"]
    for policy in POLICIES[1:]:
        actual_loss, actual, _ = by_policy[policy]
        assert actual_loss == pytest.approx(loss, rel=1e-5)
        for a, b in zip(actual, grads, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_remat_policies_recompute_more_and_more(by_policy) -> None:
    """The products of a layer stand in the jaxpr once for the scan, and again where recomputed."""
    dots = {policy: actual[2].count("dot_general") for policy, actual in by_policy.items()}
    assert dots["none"] < dots["dots"] < dots["full"]


def test_offload_is_refused_where_there_is_no_other_memory() -> None:
    config = dataclasses.replace(GPT, remat="offload")
    with pytest.raises(
        ValueError, match=r"remat=offload must have an accelerator.*try --model.remat"
    ):
        config.resolve("cpu")
    assert config.resolve("tpu").remat == "offload"


@pytest.mark.parametrize(("backend", "dtype"), [("cpu", "float32"), ("tpu", "bfloat16")])
def test_compute_type_follows_the_backend(backend: str, dtype: str) -> None:
    auto = dataclasses.replace(GPT, dtype="auto", attention="auto")
    assert auto.resolve(backend).dtype == dtype
    assert dataclasses.replace(auto, dtype="float32").resolve(backend).dtype == "float32"


@pytest.mark.parametrize("family", FAMILIES)
def test_families_run_and_start_near_the_uniform_guess(family: str) -> None:
    config = dataclasses.replace(FAMILIES[family], init_std=0.02)
    with jax.set_mesh(mesh_of()):
        model = fresh_model(config)
        tokens = placed(batch_of(B=2, T=8, V=29)).tokens
        logits = jax.jit(lambda m, t: m.logits(m(t)))(model, tokens)
    assert logits.shape == (2, 8, 32)
    assert logits.dtype == jnp.float32
    nll = -jax.nn.log_softmax(logits)
    assert float(jnp.mean(nll)) == pytest.approx(np.log(32), rel=0.05)
    assert sum(leaf.size for leaf in jax.tree.leaves(model)) == parameter_count(config)


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_runs_in_half_and_keeps_float32_parameters(family: str) -> None:
    config = dataclasses.replace(FAMILIES[family], dtype="bfloat16", remat="full")
    with jax.set_mesh(mesh_of()):
        model = jax.eval_shape(lambda: Decoder(config, jax.random.key(0)))
        x = jax.eval_shape(lambda m: m(jnp.zeros((2, 8), jnp.int32)), model)
        logits = jax.eval_shape(Decoder.logits, model, x)
    assert x.dtype == jnp.bfloat16
    assert logits.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(model)} == {jnp.dtype("float32")}


def hidden(model: Decoder, tokens: np.ndarray, *places: np.ndarray) -> np.ndarray:
    with jax.set_mesh(mesh_of()):
        row = [jnp.asarray(part, jnp.int32) for part in (tokens, *places)]
        return np.asarray(jax.jit(lambda m, row: m(*row), compiler_options=QUICK)(model, row))


@pytest.mark.parametrize("family", ["gpt", "llama", "palm", "vaswani"])
def test_packed_documents_are_what_they_are_alone(family: str) -> None:
    with jax.set_mesh(mesh_of()):
        model = fresh_model(FAMILIES[family])
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 29, (1, 5)), rng.integers(0, 29, (1, 3))
    packed = hidden(
        model,
        np.concatenate([first, second], 1),
        np.array([[0, 1, 2, 3, 4, 0, 1, 2]]),
        np.array([[1, 1, 1, 1, 1, 2, 2, 2]]),
    )
    alone = np.concatenate([hidden(model, first), hidden(model, second)], 1)
    np.testing.assert_allclose(packed, alone, rtol=1e-4, atol=1e-5)


def plain_block(block, config: DecoderConfig, x: jax.Array) -> jax.Array:
    """One block's output by its published formula, from its own sublayers."""
    mask = Mask(causal=True, queries=TokenPlaces(jnp.arange(x.shape[1])[None]))
    layers = layers_of(config, mask)

    def attend(h: jax.Array) -> jax.Array:
        return block.attend(h, *layers.at(layers.differing))[0]

    if config.parallel_block:
        h = block.attention_norm(x)
        return x + attend(h) + block.mlp(h)
    x = x + attend(block.attention_norm(x))
    return x + block.mlp(block.mlp_norm(x))


@pytest.mark.parametrize(
    "config", [GPT, PALM, LLAMA, VASWANI], ids=["gpt", "palm", "llama", "sines"]
)
def test_the_stack_is_its_blocks_in_order(config: DecoderConfig) -> None:
    tokens = np.random.default_rng(0).integers(0, 29, (1, 6))
    with jax.set_mesh(mesh_of()):
        model = fresh_model(config)

        def run(model: Decoder) -> jax.Array:
            x = model.embedding.table[...][tokens]
            if config.scale_embedding:
                x = x * 4.0
            if model.position_table is not None:
                x = x + model.position_table.table[None, :6]
            if config.positions == "sinusoidal":
                x = x + sinusoidal(jnp.arange(6)[None], 16)
            for i in range(config.num_layers):
                x = plain_block(jax.tree.map(lambda w, i=i: w[i], model.blocks), config, x)
            return model.final_norm(x)

        wanted = jax.jit(run, compiler_options=QUICK)(model)
    np.testing.assert_allclose(hidden(model, tokens), wanted, rtol=1e-4, atol=1e-5)


def test_scanned_and_unrolled_layers_agree() -> None:
    """Few layers are unrolled when nothing is recomputed; with `full` they never are."""
    with jax.set_mesh(mesh_of()):
        model = fresh_model(BANDED)
    tokens = np.random.default_rng(0).integers(0, 29, (1, 8))
    np.testing.assert_allclose(
        hidden(model, tokens),
        hidden(with_config(model, remat="full"), tokens),
        rtol=1e-5,
        atol=1e-6,
    )


def test_only_a_tied_output_is_the_token_table() -> None:
    with jax.set_mesh(mesh_of()):
        tied = jax.eval_shape(lambda: Decoder(GPT, jax.random.key(0)))
        untied = jax.eval_shape(lambda: Decoder(LLAMA, jax.random.key(0)))
    assert tied.output_table is tied.embedding.table
    assert tied.head is None
    assert untied.output_table is untied.head.table
