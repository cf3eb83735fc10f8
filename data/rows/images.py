"""Rows of images with a label.

What a row shows of its image is drawn by the seed and the row's number in the order: each epoch
draws anew, and any process, batch size or resume draws alike.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.arrays_config import ImagesConfig, PicturesConfig
from data.batch import ImageRows
from data.cache import digest_of
from data.config import to_stderr
from data.rows.classified import ClassifiedRows, ClassPredictor, read_labelled
from data.rows.image_reader import ImageReader
from data.rows.predictor import Example
from data.rows.rows import Split
from data.sources.stored_image import StoredImage, image_of


def open_images(
    config: ImagesConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "LabelledImages":
    """The rows of a split; ValueError, with its place, for an example that cannot be learnt."""
    field = config.image_field
    examples, names, digest = read_labelled(
        config, split, field, lambda e: image_in(field, e).content(), report
    )
    rows = LabelledImages(config, split, examples, names, digest)
    rows.reader.require_decodable(digest_of(digest, split), report)
    return rows


def image_in(field: str, example: Example) -> StoredImage:
    """The image of an example; ValueError, naming its place, if it is none."""
    return image_of(example.values[field], field, example.origin)


def generator(seed: int, index: int) -> np.random.Generator:
    """What the random choices of a row of the order are drawn from."""
    return np.random.Generator(np.random.Philox(key=[seed, index]))


def varied(config: PicturesConfig) -> tuple[object, ...]:
    """All that decides the numbers of a row but for its image."""
    return (
        *(config.seed, config.shape, config.mean, config.std, config.centre),
        *(config.crop, config.padding, config.smallest_crop, config.flip),
    )


class LabelledImages(ClassifiedRows[ImageRows]):
    """Images of a split; in training as the config varies and mixes them. reader: the images."""

    question = "labels of images"

    def __init__(
        self,
        config: ImagesConfig,
        split: Split,
        examples: list[Example],
        names: Sequence[str],
        digest: str,
    ) -> None:
        digest = digest_of(digest, varied(config), config.mixup)
        super().__init__(config, split, examples, names, digest)
        self._seed, self._mixup = config.seed, config.mixup if split == "train" else 0.0
        pictures = [image_in(config.image_field, example) for example in examples]
        self.reader = ImageReader(config, pictures, varied=split == "train")

    def batch(self, indices: np.ndarray) -> ImageRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0.

        The second of two images that are mixed is drawn from all, not from the row's batch, of
        which another process may have it (mixup, Zhang et al. 2018).
        """
        n = len(indices)
        images = np.zeros((n, *self._shape), np.float32)
        targets, weights = np.zeros(n, np.int32), np.zeros(n, np.float32)
        others, shares = (targets.copy(), np.ones(n, np.float32)) if self._mixup else (None, None)
        for place, number in self.of_rows(indices):
            draw = generator(self._seed, int(indices[place]))
            image = self.reader.row(number, self.reader.view(number, draw))
            if others is not None and shares is not None:
                share = np.float32(draw.beta(self._mixup, self._mixup))
                other = int(draw.integers(len(self.targets)))
                second = self.reader.row(other, self.reader.view(other, draw))
                image = share * image + (1 - share) * second
                others[place], shares[place] = self.targets[other], share
            images[place], targets[place], weights[place] = image, self.targets[number], 1
        return ImageRows(images, targets, others, shares, weights)


class ImagePredictor(ClassPredictor):
    """Other images, asked for their label."""

    def __init__(self, config: ImagesConfig, names: Sequence[str]) -> None:
        super().__init__(config.image_field, names)
        self._config = config

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> ImageRows:
        images = whole_images(self._config, self.fields[0], inputs)
        zeros = np.zeros(len(images), np.int32)
        return ImageRows(images, zeros, None, None, np.ones(len(images), np.float32))


def whole_images(config: PicturesConfig, field: str, inputs: Sequence[Example]) -> np.ndarray:
    """The images as evaluation sees them, [n, H, W, C]."""
    reader = ImageReader(config, [image_in(field, each) for each in inputs], varied=False)
    draw = generator(0, 0)
    return np.stack([reader.row(n, reader.view(n, draw)) for n in range(len(inputs))])


def open_image_predictor(
    config: ImagesConfig, tokenizer: Any, meta: Mapping[str, Any]
) -> ImagePredictor:
    """How the run of this config, whose checkpoint has that meta, is asked other images."""
    return ImagePredictor(config, meta["names"])


def image_shapes(config: ImagesConfig, batch_size: int) -> ImageRows:
    """A batch of that size in shapes and types alone."""
    images = np.broadcast_to(np.float32(0), (batch_size, *config.shape))
    numbers = np.broadcast_to(np.int32(0), (batch_size,))
    weights = np.broadcast_to(np.float32(0), (batch_size,))
    mixed = (numbers, weights) if config.mixup else (None, None)
    return ImageRows(images, numbers, *mixed, weights)
