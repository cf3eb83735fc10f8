"""Every question, with dropout: loss and gradients are the same on every mesh."""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.batch import HiddenRows
from model.families.encoder import Encoder
from model.families.encoder_config import EncoderConfig
from tests.families import QUICK
from tests.models import TRAIN, mesh_of, placed
from tests.questions import ENCODER, HEADS, MODERN, asked, batch_for
from tests.system.test_mesh_parity import COMPLAINT, MESHES, compiled_again  # noqa: F401
from train.step import gradients, make_eval_step, step_key

BASES = {"bert": ENCODER, "modern": MODERN}
CASES = [("bert", question) for question in HEADS] + [("modern", "masked"), ("modern", "labels")]
ALL_AXES = "replica2_fsdp2_tensor2"
SHORT = [("bert", "masked"), ("bert", "embedding"), ("modern", "labels")]
"""On a mesh of all axes; the others, and meshes of one axis, are long tests."""
FAR = 4e-6
"""Distance at most, as a share of a leaf's largest entry: 2e-6 here, and processors differ."""
UNSEEN = (".b_k.value", ".task_head.bias.value")
"""Softmax over keys does not see the keys' bias, nor that over places the scores': their gradients
are zero, and what is computed is rounding."""


@functools.cache
def loss_and_gradients(
    base: str, question: str, mesh: str | None
) -> tuple[float, dict[str, np.ndarray]]:
    config: EncoderConfig = asked(question, BASES[base])
    sizes = MESHES[mesh] if mesh else {}
    with jax.set_mesh(mesh_of(**sizes)):
        step = functools.partial(gradients, config=TRAIN, key=step_key(0, 3))
        model = jax.jit(lambda: Encoder(config, jax.random.key(0)), compiler_options=QUICK)()
        loss, grads, _ = jax.jit(step, compiler_options=QUICK)(model, placed(batch_for(question)))
        leaves, _ = jax.tree.flatten_with_path(grads)
        return float(loss), {jax.tree_util.keystr(p): np.asarray(g, np.float64) for p, g in leaves}


def combinations() -> Iterator[Any]:
    for base, question in CASES:
        for mesh in MESHES:
            short = mesh == ALL_AXES and (base, question) in SHORT
            marks = [] if short else [pytest.mark.long]
            yield pytest.param(base, question, mesh, marks=marks)


@pytest.mark.parametrize(("base", "question", "mesh"), list(combinations()))
@pytest.mark.usefixtures("compiled_again")
def test_loss_and_gradients_are_those_of_a_single_device(
    base: str, question: str, mesh: str, capfd: pytest.CaptureFixture[str]
) -> None:
    loss, grads = loss_and_gradients(base, question, mesh)
    assert COMPLAINT not in capfd.readouterr().err
    wanted_loss, wanted = loss_and_gradients(base, question, None)
    assert loss == pytest.approx(wanted_loss, rel=FAR)
    largest = max(float(np.abs(leaf).max()) for leaf in wanted.values())
    for name, leaf in wanted.items():
        unseen = name.endswith(UNSEEN[0]) or (name == UNSEEN[1] and question == "span")
        own = largest if unseen else float(np.abs(leaf).max())
        assert np.abs(grads[name] - leaf).max() <= FAR * own, name


def test_padding_is_no_negative_of_embeddings() -> None:
    """The second row, which does not count, is another text."""
    rows: Any = batch_for("embedding")
    other = rows._replace(tokens=rows.tokens.copy(), others=rows.others.copy())
    other.tokens[1], other.others[1] = rows.tokens[0], rows.others[0]
    with jax.set_mesh(mesh_of()):
        model = jax.jit(lambda: Encoder(asked("embedding"), jax.random.key(0)))()
        losses = [float(make_eval_step(TRAIN)(model, placed(b)).loss) for b in (rows, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def biased_encoder(config: EncoderConfig) -> Encoder:
    """An encoder that would choose the rows that pad the table, if it could."""
    model = jax.jit(lambda: Encoder(config, jax.random.key(0)), compiler_options=QUICK)()
    model.task_head.bias[...] += jnp.arange(config.table_rows) > config.vocab_size - 3
    return model


def test_what_may_stand_in_a_hidden_place_is_the_same_on_a_mesh() -> None:
    config = asked("masked")
    rows: Any = batch_for("masked")
    batch = HiddenRows(rows.tokens, rows.places, rows.segment_ids, rows.weights[:, 0])
    with jax.set_mesh(mesh_of()):
        model = biased_encoder(config)
        x = model(jnp.asarray(batch.tokens), None, jnp.asarray(batch.segment_ids))
        x = model.task_head(jnp.take_along_axis(x, batch.places[..., None], 1))
        scores = np.asarray(x) @ np.asarray(model.output_table[...]).T
        bias = model.task_head.bias
        assert bias is not None
        scores += np.asarray(bias[...])
    shares = np.asarray(jax.nn.softmax(scores[..., : config.vocab_size]))
    for sizes in ({}, MESHES[ALL_AXES]):
        with jax.set_mesh(mesh_of(**sizes)):
            ids, best = make_eval_step(TRAIN)(biased_encoder(config), placed(batch)).outputs
        wanted = np.argsort(-shares)[..., : ids.shape[-1]]
        np.testing.assert_array_equal(ids, wanted)
        np.testing.assert_allclose(best, np.take_along_axis(shares, wanted, -1), rtol=1e-5)
