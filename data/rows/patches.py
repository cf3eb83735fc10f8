"""Rows of images with the class of each patch: the commonest of its pixels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.arrays_config import PatchesConfig
from data.batch import PatchRows
from data.cache import digest_of
from data.config import to_stderr
from data.errors import UserError
from data.rows import label_names
from data.rows.image_reader import ImageReader
from data.rows.images import generator, image_in, varied, whole_images
from data.rows.named import NamedRows
from data.rows.predictor import Example, Predictor
from data.rows.records import read_examples
from data.rows.rows import Split
from data.rows.views import View, commonest, shown
from data.scores import confusion, of_segments


def open_patches(
    config: PatchesConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "MappedImages":
    """The rows of a split; ValueError, with its place, for an example that cannot be learnt, and
    for a class that only held-out maps have."""
    fields = [config.image_field, config.map_field]
    splits, digest = read_examples(
        config, fields, lambda e: image_in(config.image_field, e).content(), report
    )
    train = splits["train"]
    seen = {each for example in train for each in classes_of(config, example)}
    if len(seen) < 2:
        raise UserError(
            f"data.map_field={config.map_field!r} must hold at least 2 classes, because there is "
            f"nothing to learn of one, but all {len(train):,} training maps have {sorted(seen)}; "
            "try another field or other data"
        )
    names = config.labels or tuple(map(str, range(max(seen) + 1)))
    if split == "held_out":
        for example in splits["held_out"]:
            present = [str(each) for each in classes_of(config, example)]
            label_names.require_seen(present, [example] * len(present), set(map(str, seen)))
    rows = MappedImages(config, split, splits[split], names, digest)
    rows.reader.require_decodable(digest_of(digest, split), report)
    return rows


def classes_of(config: PatchesConfig, example: Example) -> list[int]:
    """The classes that an example's map has, in order."""
    classes = np.unique(map_of(config, example))
    return classes[classes != config.ignored].tolist()


def map_of(config: PatchesConfig, example: Example) -> np.ndarray:
    """The class index of each pixel of an example, [H, W], uint8; ValueError if it has none, for
    another size than the image's, or an index for which there is no name."""
    stored, picture = image_in(config.map_field, example), image_in(config.image_field, example)
    classes, size = stored.indices(), picture.size()
    if classes.shape != size:
        raise UserError(
            f"{stored} must have the height and width of {picture}, because each of its pixels is "
            f"the class of one there, but they are {classes.shape[0]} x {classes.shape[1]}, and "
            f"{size[0]} x {size[1]} as EXIF turns it; try resizing it by nearest neighbour, or "
            "turning it as the image is seen"
        )
    most = len(config.labels) or 256
    beyond = classes[(classes != config.ignored) & ((classes < 0) | (classes >= most))]
    if len(beyond):
        raise UserError(
            f"the map of {example.origin} must hold indices below {most}, because "
            + (f"data.labels names {most}" if config.labels else "they are of 8 bits")
            + f", or data.ignored={config.ignored}, but holds {beyond[0]}; try another index for "
            "these pixels, or --data.ignored"
        )
    return classes.astype(np.uint8)


class MappedImages(NamedRows[PatchRows]):
    """Images of a split with their maps."""

    question = "labels of patches"

    def __init__(
        self,
        config: PatchesConfig,
        split: Split,
        examples: list[Example],
        names: Sequence[str],
        digest: str,
    ) -> None:
        self._config = config
        digest = digest_of(digest, varied(config), config.patch_size, config.ignored, names)
        super().__init__(config, split, examples, names, digest)
        pictures = [image_in(config.image_field, example) for example in examples]
        self.reader = ImageReader(config, pictures, varied=split == "train")

    def describe(self) -> list[str]:
        """Images of an epoch, and patches of each."""
        size = " x ".join(map(str, self._config.shape))
        return [
            f"data: {self.num_rows:,} images of {size} with {self._config.patches:,} patches, each "
            "epoch"
        ]

    def batch(self, indices: np.ndarray) -> PatchRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        config, n = self._config, len(indices)
        images = np.zeros((n, *config.shape), np.float32)
        targets = np.zeros((n, config.patches), np.int32)
        weights = np.zeros((n, config.patches), np.float32)
        for place, number in self.of_rows(indices):
            view = self._view(number, int(indices[place]))
            images[place] = self.reader.row(number, view)
            classes = self._targets(number, view)
            targets[place], weights[place] = np.maximum(classes, 0), classes >= 0
        return PatchRows(images, targets, weights)

    def _view(self, number: int, index: int) -> View:
        return self.reader.view(number, generator(self._config.seed, index))

    def _targets(self, number: int, view: View) -> np.ndarray:
        """The class of each patch, [P]; -1 for those that do not count."""
        config, example = self._config, self._examples[number]
        size, ignored = config.image_size, config.ignored
        whole = self.reader.classes(number, lambda: map_of(config, example))
        classes = shown(whole, view, size, nearest=True, empty=ignored)
        return commonest(classes, len(self.labels), config.patch_size, ignored)

    def score(self, indices: np.ndarray, outputs: Any) -> Mapping[str, float]:
        """Measures of the classes [n, P] of these rows, which there are."""
        return of_segments(self.confusion(indices, outputs)[1])

    def confusion(self, indices: np.ndarray, outputs: Any) -> tuple[Sequence[str], np.ndarray]:
        rows = [(int(indices[place]), number) for place, number in self.of_rows(indices)]
        targets = np.stack([self._targets(n, self._view(n, index)) for index, n in rows])
        counted = targets >= 0
        return self.labels, confusion(outputs[counted], targets[counted], len(self.labels))


class PatchPredictor(Predictor):
    """Other images, asked for the class of each patch."""

    of_texts = False

    def __init__(self, config: PatchesConfig, names: Sequence[str]) -> None:
        self._config, self._names = config, tuple(names)
        self.fields = [config.image_field]

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> PatchRows:
        images = whole_images(self._config, self.fields[0], inputs)
        shape = (len(images), self._config.patches)
        return PatchRows(images, np.zeros(shape, np.int32), np.ones(shape, np.float32))

    def answers(self, inputs: Sequence[Example], outputs: Any) -> list[dict[str, Any]]:
        """The classes of the patches row by row, and what share of the image each class has."""
        columns = self._config.image_size[1] // self._config.patch_size
        return [
            {
                "shares": {
                    self._names[each]: float(np.mean(classes == each))
                    for each in np.unique(classes)
                },
                "patches": classes.reshape(-1, columns).tolist(),
            }
            for classes in np.asarray(outputs)
        ]

    def written(self, example: Example) -> dict[str, Any]:
        """Where the image lies."""
        return {self.fields[0]: example.origin}


def open_patch_predictor(
    config: PatchesConfig, tokenizer: Any, meta: Mapping[str, Any]
) -> PatchPredictor:
    """How the run of this config, whose checkpoint has that meta, is asked other images."""
    return PatchPredictor(config, meta["names"])


def patch_shapes(config: PatchesConfig, batch_size: int) -> PatchRows:
    """A batch of that size in shapes and types alone."""
    images = np.broadcast_to(np.float32(0), (batch_size, *config.shape))
    numbers = np.broadcast_to(np.int32(0), (batch_size, config.patches))
    return PatchRows(images, numbers, np.broadcast_to(np.float32(0), numbers.shape))
