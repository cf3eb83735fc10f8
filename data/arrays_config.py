"""Data of arrays: images with a label, images with a label for each patch, and series. A row is an
example. Imports no grain, so that `--help` stays fast."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from annotated_types import Interval

from data.config import CorporaConfig, to_stderr
from data.errors import UserError
from data.fields import FREE, Size, Whole
from data.rows import table as rows_table

if TYPE_CHECKING:
    from data.batch import Batch
    from data.rows.predictor import Predictor
    from data.rows.rows import Rows, Split

Brightness = Annotated[float, Interval(ge=-1e6, le=1e6)]
Spread = Annotated[float, Interval(ge=1e-6, le=1e6)]


@dataclass(frozen=True, kw_only=True)
class ArraysConfig(CorporaConfig):
    """Records of sources that hold arrays, each of which is a row."""

    sources: tuple[str, ...] = field(default=(), metadata=FREE)
    """Corpora to train on, each `kind:where`: `images:DIR`, of files DIR/LABEL/NAME.png or .jpg,
    `npz:GLOB` or `tfds:NAME`; of series `ts:GLOB` or `npz:GLOB`."""
    held_out_sources: tuple[str, ...] = field(default=(), metadata=FREE)
    """Corpora to evaluate on, such as the official split; without any, `held_out` keeps a share."""
    held_out: Annotated[float, Interval(ge=0, le=0.999)] = 0.1
    """Share of examples, chosen by the hash of their content, that is kept for evaluation, if no
    sources are."""
    channels: Size = 1
    """C, numbers at each place."""
    mean: tuple[Brightness, ...] = (0.0,)
    """Subtracted from every number: one for all channels, or one each."""
    std: tuple[Spread, ...] = (1.0,)
    """What is left is divided by that: one for all channels, or one each."""
    labels: tuple[str, ...] = ()
    """The labels in the order of their numbers; without any, those of the training examples,
    sorted."""

    source_fields: ClassVar[tuple[str, ...]] = ("sources", "held_out_sources")
    packing = False
    sequence_length = 1
    if TYPE_CHECKING:
        kind: Any = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.channels):
                raise UserError(
                    f"data.{name}={values} must have 1 or {self.channels} numbers, because "
                    f"data.channels={self.channels}, but it has {len(values)}; try --data.{name} "
                    f"{' '.join(map(str, values[:1] * self.channels))}"
                )

    @property
    def scored_share(self) -> float:
        return 0.0

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Sizes of a row."""

    def open_rows(self, split: "Split", *, report: Callable[[str], None] = to_stderr) -> "Rows":
        """The rows of a split.

        ValueError if a source cannot be read, or an example cannot be learnt.
        """
        return rows_table.open_rows(self.kind, self, split, report)

    def open_predictor(self, tokenizer: Any, meta: Mapping[str, Any]) -> "Predictor | None":
        """How a model that was trained on these data is asked other examples."""
        return rows_table.open_predictor(self.kind, self, tokenizer, meta)

    def batch_shapes(self, batch_size: int) -> "Batch":
        """A batch of that size in shapes and types alone."""
        return rows_table.batch_shapes(self.kind, self, batch_size)


@dataclass(frozen=True, kw_only=True)
class PicturesConfig(ArraysConfig):
    """Images of one size, and how they are varied in training.

    In evaluation the largest centred rectangle of the row's shape is taken, of which `centre` keeps
    a share of each side, and resized (as timm and big_vision do), bicubic, antialiased.
    """

    image_field: str = "image"
    """Field of a record that holds the image."""
    image_size: tuple[Size, Size] = (224, 224)
    """H and W, to which images are resized."""
    channels: Literal[1, 3] = 3
    """C: 1 is grey, 3 are red, green and blue."""
    mean: tuple[Brightness, ...] = (0.5,)
    """Subtracted from brightness, which is from 0 to 1: one for all channels, or one each. Those of
    ImageNet are 0.485 0.456 0.406."""
    std: tuple[Spread, ...] = (0.5,)
    """What is left is divided by that: one for all channels, or one each. Those of ImageNet are
    0.229 0.224 0.225."""
    centre: Annotated[float, Interval(ge=0.1, le=1)] = 1.0
    """Share of each side of the centred rectangle that evaluation sees; 0.875 is usual where
    `crop=resized`."""
    crop: Literal["none", "padded", "resized"] = "none"
    """What training sees: the same as evaluation; that image, moved by up to `padding` pixels; or a
    random part of at least `smallest_crop` of the area, whose sides are up to 4 to 3, resized."""
    padding: Whole = 4
    """Pixels that `padded` moves an image by at most; black comes in."""
    smallest_crop: Annotated[float, Interval(ge=0.01, le=1)] = 0.08
    """Share of the area of an image that `resized` shows at least."""
    flip: bool = False
    """Mirror every second image, drawn at random, left to right."""

    example_source: ClassVar[str] = "images:photos"

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.image_size, self.channels)


@dataclass(frozen=True, kw_only=True)
class ImagesConfig(PicturesConfig):
    """Images, each with a label."""

    kind: Literal["images"] = "images"
    """What the rows ask for: the label of an image."""
    label_field: str = "label"
    """Field of a record that holds the label; of `images:` the folder."""
    mixup: Annotated[float, Interval(ge=0, le=100)] = 0.0
    """Mix each image with another: alpha of the Beta distribution that its share is drawn from; 0
    is off."""


@dataclass(frozen=True, kw_only=True)
class PatchesConfig(PicturesConfig):
    """Images with a class for each pixel, of which the commonest of each patch is learnt."""

    kind: Literal["patches"] = "patches"
    """What the rows ask for: the label of each patch of an image."""
    map_field: str = "map"
    """Field of a record that holds the class index of each pixel; of `images:` it lies next to
    NAME.jpg as NAME.map.png."""
    patch_size: Size = 16
    """Pixels of a side of a patch; as many patches as the network has places."""
    ignored: Annotated[int, Interval(ge=0, le=255)] = 255
    """Index of pixels that do not count."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for side in self.image_size:
            if side % self.patch_size:
                raise UserError(
                    f"data.image_size={self.image_size} must be multiples of data.patch_size="
                    f"{self.patch_size}, because each patch has a label; try --data.image-size "
                    + " ".join(
                        str(-(-s // self.patch_size) * self.patch_size) for s in self.image_size
                    )
                )

    @property
    def patches(self) -> int:
        """P, patches of an image."""
        H, W = self.image_size
        return (H // self.patch_size) * (W // self.patch_size)


@dataclass(frozen=True, kw_only=True)
class SeriesConfig(ArraysConfig):
    """Series of one length, each with a label."""

    kind: Literal["series"] = "series"
    """What the rows ask for: the label of a series."""
    series_field: str = "series"
    """Field of a record that holds the series, [T] or [T, C]."""
    label_field: str = "label"
    """Field that holds the label."""
    series_length: Size = 128
    """T, times of a row."""
    unequal: Literal["refuse", "fit"] = "refuse"
    """What happens to a series of another length: nothing is trained, or its end is cut off or
    filled with the mean, and how many were is reported."""

    example_source: ClassVar[str] = "ts:train.ts"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.series_length, self.channels)
