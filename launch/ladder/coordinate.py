"""The coordinate check: whether activations keep their size as a model gets wider.

A few steps move each activation of a wide model as far as one of a narrow model under muP (Yang et
al. 2022, appendix D.1); under the standard parametrization some move further the wider it is.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from launch.config import RunConfig
from launch.ladder.short import Report, ShortRun, batches_of, compared

KINDS = ("embedding", "attention", "feed-forward", "residual stream", "change of logits")
TOLERANCE = 0.25
"""Largest exponent of the width that counts as flat: half of the smallest, 1/2, that theory gives
activations that are not."""


class Sizes(NamedTuple):
    """Mean absolute activations under one parametrization."""

    parametrization: str
    widths: tuple[int, ...]
    means: np.ndarray
    """[width, kind, step], the first step the initial model; logits have not changed there."""

    @property
    def slopes(self) -> np.ndarray:
        """[kind]: the exponent of the width that fits the sizes after the last step."""
        x, y = np.log(self.widths), np.log(self.means[:, :, -1])
        return np.polyfit(x, y, 1)[0]

    @property
    def flat(self) -> bool:
        return bool(np.all(np.abs(self.slopes) <= TOLERANCE))


def check(
    base: RunConfig, widths: Sequence[int], rate: float, seeds: int, report: Report
) -> list[Sizes]:
    """Sizes over width under both parametrizations, the mean of some seeds; muP is based on the
    model of `base`. It runs on the current mesh."""
    batches = batches_of(base)
    means: dict[str, list[np.ndarray]] = {}
    for kind, width, config in compared(base, widths):
        run = ShortRun(config, batches)
        seen = [_watched(run, rate, seed) for seed in range(seeds)]
        means.setdefault(kind, []).append(np.mean(seen, axis=0))
        report(f"{kind} of width {width}")
    return [Sizes(kind, tuple(widths), np.array(found)) for kind, found in means.items()]


def _watched(run: ShortRun, rate: float, seed: int) -> np.ndarray:
    """[kind, step]: activations on the first batch, before the first step and after each."""
    watch = jax.jit(
        lambda model, rows: model.activation_sizes(rows.tokens, rows.positions, rows.segment_ids)
    )
    first, columns = None, []
    for state, _ in run.states(rate, seed):
        sizes, logits = watch(state.model, run.batches[0])
        first = logits if first is None else first
        sizes = sizes | {"change of logits": jnp.mean(jnp.abs(logits - first))}
        columns.append([float(sizes[kind]) for kind in KINDS])
    return np.array(columns).T


def verdict(found: Sequence[Sizes]) -> str:
    """The sizes after the last step as a table, and what they say."""
    lines = []
    for sizes in found:
        names = "".join(f"{width:>10}" for width in sizes.widths)
        lines.append(f"{sizes.parametrization:<18}{names}  exponent of the width")
        for kind, means, slope in zip(KINDS, sizes.means[:, :, -1].T, sizes.slopes, strict=True):
            told = "flat" if abs(slope) <= TOLERANCE else "grows" if slope > 0 else "shrinks"
            numbers = "".join(f"{mean:>10.4f}" for mean in means)
            lines.append(f"{kind:<18}{numbers}  {slope:+.2f}  {told}")
        word = "all activations are" if sizes.flat else "not all activations are"
        lines.append(f"{sizes.parametrization}: {word} flat (exponents within {TOLERANCE})\n")
    return "\n".join(lines).rstrip()
