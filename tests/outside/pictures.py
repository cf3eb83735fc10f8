"""A family, an objective and a data kind of a user's own: which of two halves is brighter?"""

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from data.cache import digest_of
from data.config import DataKind
from data.order import Order
from data.rows.rows import Rows, Split
from model.dropout import dropout
from model.families.family import FamilyConfig
from model.sharding import spec
from model.weights import param
from train.objective import Sums


class Pictures(NamedTuple):
    """Brightness by row and column, and whether the right half is the brighter one."""

    pixels: Any
    labels: Any
    weights: Any

    axes = {  # noqa: RUF012 - annotated, it would be a field
        "pixels": ("batch", None, None),
        "labels": ("batch",),
        "weights": ("batch",),
    }

    @staticmethod
    def objective(model: Any, batch: Any, config: Any, key: PRNGKeyArray | None) -> Sums:
        """Logistic loss of one score a picture, and how many are judged right."""
        scores = model(batch.pixels, key)
        nll = jnp.sum(batch.weights * (jnp.logaddexp(0, scores) - scores * batch.labels))
        right = jnp.sum(batch.weights * ((scores > 0) == (batch.labels > 0)))
        return Sums(nll, nll, jnp.sum(batch.weights), {"accuracy": right})


class PictureRows(Rows[Pictures]):
    """Pictures drawn from their numbers."""

    def __init__(self, config: "PictureData", split: Split) -> None:
        self._config = config
        count = config.count if split == "train" else 64
        digest = digest_of("pictures", config.count, config.side, config.seed)
        super().__init__(split, Order([count], seed=config.seed, weights=()), digest)

    def batch(self, indices: np.ndarray) -> Pictures:
        there, side = self.present(indices), self._config.side
        pixels = np.zeros((len(indices), side, side), np.float32)
        for place, number in enumerate(self.examples(indices[there])):
            draw = np.random.default_rng((self._config.seed, int(number)))
            pixels[np.flatnonzero(there)[place]] = draw.normal(size=(side, side))
        halves = np.split(pixels.sum(1), 2, axis=1)
        labels = (halves[1].sum(1) > halves[0].sum(1)).astype(np.float32)
        return Pictures(pixels, labels, there.astype(np.float32))


@dataclass(frozen=True, kw_only=True)
class PictureData(DataKind):
    """How many pictures, and their side."""

    kind: Literal["pictures"] = "pictures"
    count: int = 256
    side: int = 8
    seed: int = 0
    sequence_length: int = 1
    packing: bool = False
    cache_dir: str = "~/.cache/meshloom"

    def open_rows(self, split: Split, *, report: Any = print) -> PictureRows:
        return PictureRows(self, split)

    def batch_shapes(self, batch_size: int) -> Pictures:
        zeros = functools.partial(np.broadcast_to, np.float32(0))
        return Pictures(
            zeros((batch_size, self.side, self.side)), zeros((batch_size,)), zeros((batch_size,))
        )


@dataclass(frozen=True, kw_only=True)
class PerceptronConfig(FamilyConfig):
    """A layer of hidden units over all pixels, and dropout."""

    kind: Literal["perceptron"] = "perceptron"
    side: int = 8
    hidden: int = 32
    rate: float = 0.1

    def build(self, key: PRNGKeyArray) -> "Perceptron":
        return Perceptron(self, key)


class Perceptron(nnx.Module):
    def __init__(self, config: PerceptronConfig, key: PRNGKeyArray) -> None:
        self.config, pixels, F = config, config.side**2, config.hidden
        first, second = jax.random.split(key)
        matrix = functools.partial(
            param, init=jax.nn.initializers.normal(0.1), fan_in=(0,), fan_out=(1,)
        )
        self.w_in = matrix(first, (pixels, F), ("embed", "mlp"), decay=True)
        self.w_out = matrix(second, (F, 1), ("mlp", None))

    def __call__(
        self, pixels: Float[Array, "B R C"], key: PRNGKeyArray | None
    ) -> Float[Array, "B"]:
        B, size = pixels.shape[0], self.config.side**2
        x = jax.lax.reshape(pixels, (B, size), out_sharding=spec("batch", None))
        h = jax.nn.gelu(jnp.dot(x, self.w_in[...], out_sharding=spec("batch", "mlp")))
        h = dropout(h, self.config.rate, key)
        return jnp.dot(h, self.w_out[...], out_sharding=spec("batch", None))[:, 0]
