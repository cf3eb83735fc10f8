"""Interpolation of learned tables of places to grids of another size."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SHARPNESS = {"bicubic": -0.75, "bicubic_antialias": -0.5}
"""a of the cubic kernel (Keys 1981), as PyTorch has it with antialiasing and without."""


def interpolated(
    table: Float[Array, "P D"],
    grid: tuple[int, int],
    wanted: tuple[int, int],
    method: str,
    *,
    kept: int = 0,
) -> Float[Array, "_ D"]:
    """Vectors of the places of a grid, row by row, for one of other rows and columns, after those
    first ones that are `kept`: what PyTorch's `interpolate` computes with `align_corners=False`,
    and so `transformers` of tables of positions."""
    if grid == wanted:
        return table
    rows, columns = (
        jnp.asarray(cubic_weights(before, after, method))
        for before, after in zip(grid, wanted, strict=True)
    )
    image = table[kept:].astype(jnp.float32).reshape(*grid, -1)
    exact = jax.lax.Precision.HIGHEST
    image = jnp.einsum("hr,wc,rcD->hwD", rows, columns, image, precision=exact)
    image = image.reshape(wanted[0] * wanted[1], -1).astype(table.dtype)
    return jnp.concatenate([table[:kept], image])


def cubic_weights(before: int, after: int, method: str) -> np.ndarray:
    """How much each of `after` points takes from each of `before`, float32 [after, before].

    Without antialiasing a point reads four neighbours, of which those over the border are the last
    ones; with it the kernel is as wide as a point of fewer, and what is over the border takes no
    part.
    """
    scale, a = before / after, SHARPNESS[method]
    smooth = method == "bicubic_antialias"
    wide = max(scale, 1.0) if smooth else 1.0
    centres = (np.arange(after) + 0.5) * scale - 0.5
    reach = int(np.ceil(2 * wide)) + 1
    near = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)[None]
    shares = _cubic((near - centres[:, None]) / wide, a)
    inside = (near >= 0) & (near < before)
    if smooth:
        shares = np.where(inside, shares, 0)
        shares = shares / shares.sum(axis=1, keepdims=True)
    weights = np.zeros((after, before))
    np.add.at(weights, (np.arange(after)[:, None], np.clip(near, 0, before - 1)), shares)
    return weights.astype(np.float32)


def _cubic(x: np.ndarray, a: float) -> np.ndarray:
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = a * (((x - 5) * x + 8) * x - 4)
    return np.where(x <= 1, inner, np.where(x < 2, outer, 0))
