"""Dropout in a toy of two layers: the same on every mesh, after a resume, and by micro-batch."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.batch import TokenRows
from model.dropout import dropout
from model.families.decoder import Decoder
from tests.families import QUICK, layout
from tests.models import SMALL, TRAIN, batch_of, mesh_of, placed
from train.feed import replicated
from train.guard.spikes import NO_CEILING
from train.objective import objective_of
from train.optimizer.transform import gradient_transform
from train.state import TrainState
from train.step import gradients, make_eval_step, make_train_step, step_key

RATE = 0.1


class Noisy(Decoder):
    """Feed-forward layers with dropout before each is added; its key is split over them."""

    def __call__(
        self, tokens, positions=None, segment_ids=None, token_types=None, *, key=None
    ) -> jax.Array:
        def layer(x, block_and_key):
            block, key = block_and_key
            return x + dropout(block.mlp(block.mlp_norm(x)), RATE, key), None

        keys = None if key is None else jax.random.split(key, self.config.num_layers)
        x = self.embedding.lookup(tokens, jnp.dtype(self.config.dtype))
        return self.output(jax.lax.scan(layer, x, (self.blocks, keys))[0])


def fresh() -> TrainState:
    """The initial state on the current mesh."""

    def state() -> TrainState:
        model = Noisy(SMALL, jax.random.key(0))
        moments, step = gradient_transform(TRAIN.optimizer).init(model), jnp.zeros((), jnp.int32)
        return TrainState(step=step, model=model, optimizer=moments, average=None)

    return jax.jit(state, compiler_options=QUICK)()


@functools.cache
def loss_and_gradient(step: int = 5, accumulation: int = 1, **sizes: int) -> tuple[float, list]:
    config = dataclasses.replace(TRAIN, accumulation=accumulation)
    key = step_key(config.seed, step)
    with jax.set_mesh(mesh_of(**sizes)):
        both = jax.jit(lambda m, b: gradients(m, b, config, key)[:2], compiler_options=QUICK)
        loss, grads = both(fresh().model, placed(batch_of()))
    return float(loss), [np.asarray(leaf) for leaf in jax.tree.leaves(grads)]


@pytest.mark.parametrize("sizes", [{"fsdp": 2, "tensor": 2}, {"fsdp": 4}], ids=str)
def test_losses_and_gradients_agree_on_every_mesh(sizes: dict) -> None:
    loss, grads = loss_and_gradient(accumulation=2, **sizes)
    alone, others = loss_and_gradient(accumulation=2)
    assert loss == pytest.approx(alone, rel=1e-5)
    for a, b in zip(grads, others, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_each_micro_batch_has_the_key_of_its_number() -> None:
    """Row r belongs to micro-batch r % 2, whose key is fold_in(step_key(seed, step), r % 2)."""
    batch, key = batch_of(), step_key(TRAIN.seed, 5)
    with jax.set_mesh(mesh_of()):
        model = fresh().model
        ask = jax.jit(lambda b, k: objective_of(TokenRows)(model, b, TRAIN, k))
        sums = [
            ask(TokenRows(*(field[m::2] for field in batch if field is not None)), own)
            for m, own in enumerate(jax.random.fold_in(key, m) for m in (0, 1))
        ]
    by_hand = sum(float(s.loss) for s in sums) / sum(float(s.weight) for s in sums)
    assert loss_and_gradient(accumulation=2)[0] == pytest.approx(by_hand, rel=1e-5)
    assert abs(loss_and_gradient(accumulation=1)[0] - by_hand) > 1e-4


def test_a_resumed_run_drops_what_an_undisturbed_run_drops() -> None:
    step = make_train_step(TRAIN)
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        batch = placed(batch_of())
        go = functools.partial(step, batch=batch, ceiling=replicated(NO_CEILING))
        state, losses, kept = fresh(), [], []
        for number in range(4):
            if number == 2:
                kept = [(np.asarray(leaf), leaf.sharding) for leaf in jax.tree.leaves(state)]
            # Nothing is learnt in the first steps: what differs between their losses is dropout.
            state, metrics = go(state, learning_rate=replicated(1e-2 * (number > 1)))
            losses.append(float(metrics.loss))
        state = jax.tree.structure(state).unflatten(jax.device_put(*pair) for pair in kept)
        for number in (2, 3):
            state, metrics = go(state, learning_rate=replicated(1e-2))
            assert float(metrics.loss) == losses[number]
    assert len(set(losses[:3])) == 3
    for number in range(3):
        assert losses[number] == pytest.approx(loss_and_gradient(number)[0], rel=1e-5)


def test_no_key_of_a_step_drew_the_weights() -> None:
    """The first splits of a key are its folds by 0, 1, 2, ..., and those of each split again."""
    first = jax.random.split(jax.random.key(0), 8)
    drawn = [*first, *jax.random.split(first[2], 8)]
    steps = [step_key(0, step) for step in range(8)]
    micro = [jax.random.fold_in(key, 0) for key in steps]
    data = [tuple(jax.random.key_data(key).tolist()) for key in (*drawn, *steps, *micro)]
    assert len(set(data)) == len(data)


def test_nothing_is_random_in_evaluation() -> None:
    with jax.set_mesh(mesh_of()):
        model, batch = fresh().model, placed(batch_of())
        sums = make_eval_step(TRAIN)(model, batch)
        x = model(batch.tokens)
        assert layout(x) == (None, None, None)
        logits = np.asarray(model.logits(x), np.float64)
    nll = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(
        logits, np.asarray(batch.targets)[..., None], -1
    ).squeeze(-1)
    assert float(sums.loss) == pytest.approx(float((nll * batch_of().weights).sum()), rel=1e-5)
