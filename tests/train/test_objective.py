"""A kind of batch from elsewhere: pictures with labels, whose class says what is asked of them."""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data.batch import TokenRows
from model.sharding import spec
from tests.families import QUICK
from tests.models import TRAIN, mesh_of, placed
from train.evaluate import evaluate
from train.feed import local_rows, to_global
from train.loss import cross_entropy
from train.measures import measures
from train.objective import Sums, next_tokens, objective_of, total_weight
from train.step import gradients, make_eval_step, micro_batches

B, SIDE, D, CLASSES = 8, 3, 12, 2
LAYOUTS = {"images": ("batch", None, None, None), "labels": ("batch",), "weights": ("batch",)}


class PictureBatch(NamedTuple):
    images: Any
    labels: Any
    weights: Any

    axes = LAYOUTS

    @staticmethod
    def objective(model: dict[str, jax.Array], batch: Any, config: Any, key: Any) -> Sums:
        """Cross entropy of the classes of images, and how many are right."""
        pixels = batch.images.reshape(len(batch.images), -1, out_sharding=spec("batch", None))
        x = jnp.dot(pixels, model["projection"], out_sharding=spec("batch", None))
        arguments = (x, model["table"], batch.labels, batch.weights, config.z_loss)
        sums: Any = cross_entropy(*arguments, config.loss_chunk, model["bias"])
        scores = jnp.dot(x, model["table"].T, out_sharding=spec("batch", None))
        scores += model["bias"][None]
        right = jnp.argmax(scores, axis=-1) == batch.labels
        others = {"accuracy": jnp.sum(batch.weights * right)}
        return Sums(sums[1], sums[0], total_weight(batch), others)


def pictures(rows: slice = slice(None)) -> PictureBatch:
    rng = np.random.default_rng(2)
    images = rng.normal(size=(B, SIDE, SIDE, 1)).astype("f4")
    weights = np.array([1, 0, 1, 2, 1, 1, 0.5, 1], "f4")
    return PictureBatch(
        *(a[rows] for a in (images, rng.integers(0, CLASSES, B, np.int32), weights))
    )


def weights_of(model: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(model)
    shapes = {"projection": (SIDE * SIDE, D), "table": (CLASSES, D), "bias": (CLASSES,)}
    layouts = {"projection": (None, None), "table": (None, "embed"), "bias": (None,)}
    return {
        name: jax.device_put(rng.normal(size=shape).astype("f4"), spec(*layouts[name]))
        for name, shape in shapes.items()
    }


def by_numpy() -> tuple[float, float]:
    """Mean loss and share of right answers."""
    batch, model = pictures(), {name: np.asarray(w, np.float64) for name, w in weights_of().items()}
    x = batch.images.reshape(B, -1) @ model["projection"]
    scores = x @ model["table"].T + model["bias"]
    nll = np.log(np.exp(scores).sum(-1)) - scores[np.arange(B), batch.labels]
    right = scores.argmax(-1) == batch.labels
    loss, accuracy = (float((batch.weights * y).sum() / 7.5) for y in (nll, right))
    return loss, accuracy


@pytest.mark.parametrize("sizes", [{}, {"fsdp": 4}, {"fsdp": 2, "tensor": 2}], ids=str)
def test_any_rank_is_fed_and_cut_by_its_axes(sizes: dict) -> None:
    with jax.set_mesh(mesh_of(**sizes)):
        rows = local_rows(B)
        batch = to_global(pictures(), rows, B)
        split = jax.jit(lambda batch: micro_batches(batch, 2))(batch)
        for name, axes in LAYOUTS.items():
            whole, halves = getattr(batch, name), getattr(split, name)
            assert whole.sharding.spec == spec(*axes)
            assert halves.sharding.spec == spec(None, *axes)
            np.testing.assert_array_equal(whole, getattr(pictures(), name))
            for m in (0, 1):
                np.testing.assert_array_equal(halves[m], getattr(pictures(slice(m, None, 2)), name))


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("sizes", [{}, {"fsdp": 2, "tensor": 2}], ids=str)
def test_its_loss_is_the_mean_over_weights_on_any_mesh_and_split(
    sizes: dict, accumulation: int
) -> None:
    config = dataclasses.replace(TRAIN, accumulation=accumulation)
    with jax.set_mesh(mesh_of(**sizes)):
        step: Any = jax.jit(lambda m, b: gradients(m, b, config), compiler_options=QUICK)
        loss, _, weight = step(weights_of(), placed(pictures()))
    with jax.set_mesh(mesh_of()):
        assert float(loss) == pytest.approx(by_numpy()[0], rel=1e-5)
    assert float(weight) == 7.5


def test_its_evaluation_is_the_ratio_of_all_sums() -> None:
    def batches() -> Iterator[tuple[PictureBatch, dict[str, int]]]:
        for rows in (slice(0, 4), slice(4, 8)):
            yield pictures(rows), {}

    with jax.set_mesh(mesh_of(fsdp=2)):
        measured = evaluate(
            weights_of(), batches(), make_eval_step(TRAIN), rows=np.arange(4), batch_size=4
        )
    with jax.set_mesh(mesh_of()):
        loss, accuracy = by_numpy()
    assert measured == pytest.approx(
        {"eval_loss": loss, "eval_targets": 7.5, "eval_accuracy": accuracy}, rel=1e-5
    )


def test_evaluation_without_a_target_is_refused() -> None:
    def batches() -> Iterator[tuple[PictureBatch, dict[str, int]]]:
        yield pictures()._replace(weights=np.zeros(B, "f4")), {}

    with jax.set_mesh(mesh_of()):
        rest = {"rows": np.arange(B), "batch_size": B}
        with pytest.raises(ValueError, match=r"^held-out rows=0 must be at least 1"):
            evaluate(weights_of(), batches(), make_eval_step(TRAIN), **rest)
        with pytest.raises(ValueError, match=r"^held-out rows=0 must be at least 1"):
            evaluate(weights_of(), iter(()), make_eval_step(TRAIN), **rest)


def test_tokens_have_perplexity_and_bits_of_the_text_there_is() -> None:
    sums: Any = Sums(9.0, 6.0, 4.0)  # pyright: ignore[reportArgumentType]
    actual = measures(TokenRows, sums, {"text_bytes": 3})
    assert actual == pytest.approx(
        {
            "eval_loss": 1.5,
            "eval_perplexity": np.exp(1.5),
            "eval_targets": 4.0,
            "eval_bits_per_byte": 6 / np.log(2) / 3,
        }
    )
    for counts in ({"text_bytes": 0}, {}):
        assert "eval_bits_per_byte" not in measures(TokenRows, sums, counts)


def test_a_kind_of_batch_without_an_objective_is_refused() -> None:
    class Silent(NamedTuple):
        weights: Any

    assert objective_of(TokenRows) is next_tokens
    assert objective_of(PictureBatch) is PictureBatch.objective
    with pytest.raises(ValueError, match=r"^batch=Silent must have an objective, because"):
        objective_of(Silent)
