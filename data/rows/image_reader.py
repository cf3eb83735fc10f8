"""From images to the numbers of rows."""

import os
import threading
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from data import durable
from data.arrays_config import PicturesConfig
from data.cache import kept_in, local_cache
from data.errors import UserError
from data.rows.views import View, all_of, centre, drawn, shown
from data.sources.stored_image import StoredImage

KEPT_BYTES = 1 << 30
"""Decoded images and maps of a split that are kept in memory; others are decoded each time."""


class ImageReader:
    """Images by their numbers, as rows show them.

    Which view of an image a row shows is drawn by whoever asks, in the order `view` draws it, so
    that a row is the same in any batch and process.
    """

    def __init__(
        self, config: PicturesConfig, pictures: Sequence[StoredImage], *, varied: bool
    ) -> None:
        """`varied`: for training, as the config says."""
        self._config, self._pictures, self._varied = config, pictures, varied
        self._parts = varied and config.crop == "resized"
        self._kept: dict[Hashable, np.ndarray] = {}
        self._room, self._lock = KEPT_BYTES, threading.Lock()
        self._mean, self._std = (np.array(each, np.float32) for each in (config.mean, config.std))

    def pixels(self, number: int) -> np.ndarray:
        """The image, or if rows show no random part of it, all that evaluation shows of it, at the
        size of rows."""
        picture, channels = self._pictures[number], self._config.channels
        return self._remembered(number, lambda: self._fitted(picture.pixels(channels)))

    def classes(self, number: int, read: Callable[[], np.ndarray]) -> np.ndarray:
        """The same of the image's map [H, W], which `read` reads where it is not remembered."""
        return self._remembered(("map", number), lambda: self._fitted(read(), nearest=True))

    def _fitted(self, pixels: np.ndarray, *, nearest: bool = False) -> np.ndarray:
        """The centre of an image, or of a map, unless rows show random parts."""
        config, size = self._config, pixels.shape[:2]
        if self._parts:
            return pixels
        view = centre(size, config.image_size, config.centre)
        return shown(pixels, view, config.image_size, nearest=nearest)

    def view(self, number: int, draw: np.random.Generator) -> View:
        """What a row shows of an image."""
        size = self.pixels(number).shape[:2] if self._parts else self._config.image_size
        return drawn(self._config, size, draw) if self._varied else all_of(size)

    def row(self, number: int, view: View) -> np.ndarray:
        """That view, float32 [H, W, C], with mean and deviation as the config says."""
        pixels = shown(self.pixels(number), view, self._config.image_size)
        scaled = pixels.astype(np.float32)
        if pixels.dtype == np.uint8:
            scaled /= 255
        return (scaled - self._mean) / self._std

    def require_decodable(self, digest: str, report: Callable[[str], None]) -> None:
        """Decode every image once, so that none stops a run in its middle; remembered for as long
        as the sources' digest is this. ValueError names the first that cannot be decoded."""
        cache = self._config.cache_dir
        known = local_cache(cache) / "decoded" / f"{digest}.{self._config.channels}"
        with kept_in(cache):
            if known.exists():
                return
        report(f"data: decoding {len(self._pictures):,} images once, to see that all can be")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(self.pixels, range(len(self._pictures))):
                pass
        try:
            with kept_in(cache):
                known.parent.mkdir(parents=True, exist_ok=True)
                durable.write(known, "")
        except UserError as error:
            report(f"images are decoded again the next time: {error}")

    def _remembered(self, key: Hashable, make: Callable[[], np.ndarray]) -> np.ndarray:
        if (kept := self._kept.get(key)) is not None:
            return kept
        array = make()
        with self._lock:
            if key not in self._kept and array.nbytes <= self._room:
                self._room -= array.nbytes
                self._kept[key] = array
        return array
