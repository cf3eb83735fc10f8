"""What a row shows of an image: pure functions of sizes and draws."""

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.arrays_config import PicturesConfig

ASPECTS = (3 / 4, 4 / 3)
"""Width to height of a random part (Szegedy et al. 2015)."""
ATTEMPTS = 10
"""Draws of a random part that fits; if none does, the centre is taken."""


class View(NamedTuple):
    """A part of an image, how far it is moved in the row, and whether it is mirrored."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom, in pixels of the image."""
    down: int = 0
    right: int = 0
    flipped: bool = False


def centre(size: tuple[int, int], wanted: tuple[int, int], share: float) -> View:
    """The largest centred rectangle of the wanted shape, of which `share` of each side is kept.
    Sizes are H, W."""
    (H, W), (h, w) = size, wanted
    scale = min(H / h, W / w) * share
    height, width = h * scale, w * scale
    top, left = (H - height) / 2, (W - width) / 2
    return View((left, top, left + width, top + height))


def drawn(config: PicturesConfig, size: tuple[int, int], draw: np.random.Generator) -> View:
    """What training shows of an image of H, W pixels; with `crop=resized` of a part of it."""
    view = _part(config, size, draw) if config.crop == "resized" else all_of(size)
    if config.crop == "padded":
        far = config.padding
        down, right = draw.integers(-far, far + 1, 2).tolist()
        view = view._replace(down=down, right=right)
    if config.flip:
        view = view._replace(flipped=bool(draw.random() < 0.5))
    return view


def all_of(size: tuple[int, int]) -> View:
    """An image of H, W pixels, whole."""
    return View((0, 0, size[1], size[0]))


def _part(config: PicturesConfig, size: tuple[int, int], draw: np.random.Generator) -> View:
    """A part of at least `smallest_crop` of the area (random resized crop, Szegedy et al. 2015)."""
    H, W = size
    low, high = (math.log(aspect) for aspect in ASPECTS)
    for _ in range(ATTEMPTS):
        area = H * W * draw.uniform(config.smallest_crop, 1)
        aspect = math.exp(draw.uniform(low, high))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < h <= H and 0 < w <= W:
            top, left = int(draw.integers(H - h + 1)), int(draw.integers(W - w + 1))
            return View((left, top, left + w, top + h))
    return centre(size, config.image_size, 1.0)


def shown(
    pixels: np.ndarray, view: View, size: tuple[int, int], *, nearest: bool = False, empty: int = 0
) -> np.ndarray:
    """That view of an image [H, W, C], or of a map [H, W], at size (h, w), of its own type; what is
    moved in is `empty`."""
    part = _resized(pixels, view.box, size, nearest)
    if view.down or view.right:
        part = _moved(part, view.down, view.right, empty)
    return part[:, ::-1] if view.flipped else part


def _resized(
    pixels: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int], nearest: bool
) -> np.ndarray:
    h, w = size
    if box == (0, 0, w, h) and pixels.shape[:2] == size:
        return pixels
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC

    def resized(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((w, h), how, box=box))

    if pixels.dtype == np.uint8 and pixels.shape[2:] in ((), (3,)):
        return resized(pixels)
    planes = pixels[:, :, None] if pixels.ndim == 2 else pixels
    planes = [resized(np.ascontiguousarray(planes[:, :, c])) for c in range(planes.shape[2])]
    return planes[0] if pixels.ndim == 2 else np.stack(planes, axis=-1)


def _moved(pixels: np.ndarray, down: int, right: int, empty: int) -> np.ndarray:
    H, W = pixels.shape[:2]
    moved = np.full_like(pixels, empty)
    moved[max(0, down) : H + min(0, down), max(0, right) : W + min(0, right)] = pixels[
        max(0, -down) : H - max(0, down), max(0, -right) : W - max(0, right)
    ]
    return moved


def commonest(classes: np.ndarray, count: int, side: int, ignored: int) -> np.ndarray:
    """The commonest class below `count` in each patch of `side` pixels of a map [H, W], row by row,
    the lowest of several; -1 where all pixels are ignored."""
    H, W = classes.shape
    rows, columns = H // side, W // side
    patch = np.arange(H)[:, None] // side * columns + np.arange(W)[None] // side
    counted = classes != ignored
    places = patch[counted] * count + classes[counted].astype(np.int64)
    table = np.bincount(places, minlength=rows * columns * count).reshape(-1, count)
    return np.where(table.any(axis=1), table.argmax(axis=1), -1)
