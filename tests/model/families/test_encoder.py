"""Encoders: equal to `transformers`, the same on every mesh, and open to both sides."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from launch.presets.preset import preset
from model.families.encoder import Encoder
from model.families.encoder_config import EncoderConfig
from model.flops import parameter_count
from model.head_config import HeadConfig
from model.layers import row_positions
from tests.families import GPT, QUICK, fresh_model
from tests.models import mesh_of
from tests.oracles.encoders import GOLDEN, KINDS, drawn, inputs
from tests.questions import ENCODER, MODERN


def drawn_model(config: EncoderConfig) -> Encoder:
    """The encoder with the weights of the oracle."""
    shapes = jax.eval_shape(lambda: Encoder(config, jax.random.key(0)))
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes)
    names = [
        jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
        for path, _ in leaves
    ]
    weights = drawn({name: leaf.shape for name, (_, leaf) in zip(names, leaves, strict=True)})
    return tree.unflatten(jnp.asarray(weights[name]) for name in names)


def close(actual: np.ndarray, wanted: np.ndarray) -> None:
    """Within 2e-5 of the largest output."""
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_and_scores_are_those_of_transformers(kind: str) -> None:
    config, golden = KINDS[kind], np.load(GOLDEN)
    batch = {name: jnp.asarray(value) for name, value in inputs(config).items()}
    real = np.asarray(batch["real"], bool)

    def run(model: Encoder) -> tuple[jax.Array, jax.Array]:
        x = model(batch["tokens"], None, batch["real"], batch["types"])
        head = model.task_head
        if config.head.kind == "labels":
            return x, head.logits(head(head.pool(x, batch["real"])))[:, 0]
        scores = jnp.einsum("BTD,VD->BTV", head(x), model.output_table[...])
        assert head.bias is not None
        return x, scores + head.bias[...][None, None]

    with jax.set_mesh(mesh_of()):
        hidden, scores = jax.jit(run, compiler_options=QUICK)(drawn_model(config))
    close(np.asarray(hidden)[real], golden[f"{kind}/hidden"][real])
    rows = real if scores.ndim == 3 else slice(None)
    close(np.asarray(scores)[rows], golden[f"{kind}/scores"][rows])


def test_with_its_pooler_and_no_labels_bert_base_is_the_released_encoder() -> None:
    head = HeadConfig(kind="labels", outputs=1, transform="tanh")
    config = dataclasses.replace(preset("bert-base").model, head=head)
    assert parameter_count(config) - (768 + 1) == 109_482_240


@pytest.mark.parametrize("kernel", ["xla", "blocked"])
@pytest.mark.parametrize("base", [ENCODER, MODERN], ids=["bert", "modern"])
def test_earlier_places_hear_of_later_ones(base: EncoderConfig, kernel: str) -> None:
    """What `auto` may choose on CPU, at a length of several blocks."""
    config = dataclasses.replace(base, attention=kernel, max_length=160)
    tokens = np.random.default_rng(0).integers(0, 29, (1, 160))
    with jax.set_mesh(mesh_of()):
        model = jax.jit(lambda: Encoder(config, jax.random.key(0)), compiler_options=QUICK)()
        x = model.embed(jnp.asarray(tokens), row_positions(jnp.asarray(tokens)))

        def first(x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.square(model.encode(x, row_positions(jnp.asarray(tokens)))[0, 0]))

        felt = np.abs(np.asarray(jax.jit(jax.grad(first))(x)))[0].max(axis=-1)
    assert (felt > 0).all()


def test_a_decoder_hears_of_none() -> None:
    config = dataclasses.replace(GPT, attention="blocked", max_length=160)
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 29, (1, 160)))
    with jax.set_mesh(mesh_of()):
        model = fresh_model(config)
        x = model.embed(tokens, row_positions(tokens))

        def middle(x: jax.Array) -> jax.Array:
            return jnp.sum(jnp.square(model.encode(x, row_positions(tokens))[0, 80]))

        felt = np.abs(np.asarray(jax.jit(jax.grad(middle))(x)))[0].max(axis=-1)
    assert (felt[:81] > 0).all()
    assert (felt[81:] == 0).all()


def test_packed_documents_are_what_they_are_alone() -> None:
    draw = np.random.default_rng(0)
    first, second = draw.integers(0, 29, (1, 5)), draw.integers(0, 29, (1, 3))
    places = np.array([[0, 1, 2, 3, 4, 0, 1, 2]])
    segments = np.array([[1, 1, 1, 1, 1, 2, 2, 2]])
    for config in (ENCODER, MODERN):
        with jax.set_mesh(mesh_of()):
            model = jax.jit(lambda c=config: Encoder(c, jax.random.key(0)))()
            run = jax.jit(lambda m, *row: m(*row))
            packed = run(model, np.concatenate([first, second], 1), places, segments)
            alone = [run(model, tokens) for tokens in (first, second)]
        np.testing.assert_allclose(packed, np.concatenate(alone, 1), rtol=1e-4, atol=1e-5)


def test_a_first_norm_after_a_sum_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"model\.first_norm=False must come with .*try --model"):
        dataclasses.replace(ENCODER, first_norm=False)
