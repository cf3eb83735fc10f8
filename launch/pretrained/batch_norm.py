"""BatchNorms (Ioffe & Szegedy 2015) in checkpoints: read as the scale and the bias that they are in
evaluation, and written with statistics that change nothing."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from launch.pretrained.tensors import Tensor, Tensors
from model.published.names import Published

MEAN, VARIANCE, COUNT = "running_mean", "running_var", "num_batches_tracked"


class Folded(NamedTuple):
    """The scale, or the bias, of a norm of known statistics."""

    name: str
    own: Tensor
    """The weight or the bias itself."""
    scale: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float

    @property
    def path(self) -> Path:
        return self.own.path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.own.shape

    @property
    def rows(self) -> int:
        return self.own.rows

    def read(self, rows: slice, columns: slice | None = None) -> np.ndarray:
        """These numbers, [rows, 1], computed in float64."""
        scale, mean, variance, own = (
            each.read(rows).astype(np.float64)
            for each in (self.scale, self.mean, self.variance, self.own)
        )
        factor = scale / np.sqrt(variance + self.epsilon)
        folded = factor if self.own is self.scale else own - mean * factor
        return folded.astype(np.float32)


def folded(tensors: Mapping[str, Tensor], epsilon: float) -> Tensors:
    """The tensors with each norm's weight and bias in place of the four that it has.

    Raises ValueError for a norm that lacks one.
    """
    out = dict(tensors)
    for base in [name.removesuffix(VARIANCE) for name in tensors if name.endswith(VARIANCE)]:
        parts = [f"{base}{each}" for each in ("weight", "bias", MEAN, VARIANCE)]
        if lacking := [name for name in parts if name not in tensors]:
            raise UserError(
                f"{tensors[parts[-1]].path} must hold {', '.join(lacking)}, because a BatchNorm is "
                "computed from its weight, bias, mean and variance; try fetching that file again"
            )
        scale, bias, mean, variance = (out.pop(name) for name in parts)
        out.pop(f"{base}{COUNT}", None)
        norm = functools.partial(Folded, scale=scale, mean=mean, variance=variance, epsilon=epsilon)
        out[parts[0]], out[parts[1]] = norm(parts[0], scale), norm(parts[1], bias)
    return out


def unit_statistics(
    shapes: Mapping[str, tuple[int, ...]], config: Any, published: Published
) -> dict[str, np.ndarray]:
    """Statistics of the norms of an export by which each computes its scale and bias alone: mean 0,
    and a variance that is 1 with its epsilon. Empty for a kind without BatchNorm."""
    if published.batch_norm is None:
        return {}
    scales = {n.theirs for n in published.names_of(config).values() if n.ours.endswith("/scale")}
    out: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        if name in scales or name.removeprefix(published.prefix) in scales:
            base = name.removesuffix("weight")
            out[base + MEAN] = np.zeros(shape, np.float32)
            out[base + VARIANCE] = np.full(shape, 1 - published.batch_norm, np.float32)
            out[base + COUNT] = np.zeros((), np.int64)
    return out
