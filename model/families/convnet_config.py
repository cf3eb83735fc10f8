"""A convolutional network: a table of stages. Imports no jax, so that `--help` stays fast."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Interval

from data.errors import UserError
from data.fields import FREE, Layers, Size, Whole
from model.families.family import FamilyConfig
from model.head_config import HeadConfig

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray


class Stage(NamedTuple):
    """Blocks one after the other, the first of which makes fewer places and other channels."""

    depth: int
    channels: int
    stride: int
    kernel: int
    expansion: int


@dataclass(frozen=True, kw_only=True)
class ConvnetConfig(FamilyConfig):
    """A convolutional network over images or series: ResNet (He et al. 2016) with GroupNorm (Wu &
    He 2018), ConvNeXt (Liu et al. 2022), EfficientNet-Lite, plain ones, by configuration."""

    kind: Literal["convnet"] = "convnet"
    """Which family it is."""
    dimensions: Annotated[int, Interval(ge=1, le=2)] = 2
    """Dimensions of what it reads: 2 for images, 1 for series."""
    input_channels: Size = 3
    """Channels of what it reads: 3 for colour, 1 for grey, of series as many as they have."""
    stem: Literal["none", "convolution", "pooled", "patches"] = "none"
    """What stands before the stages: nothing, a convolution with norm and activation, that and a
    max pool of 3 with stride 2 (ResNet), or a convolution of patches with a norm (ConvNeXt)."""
    stem_channels: Size = 64
    """Channels that the stem produces."""
    stem_kernel: Size = 7
    """Places that the stem's convolution sees along each dimension; a patch is stem_stride wide."""
    stem_stride: Size = 2
    """Places from one output of the stem's convolution to the next."""
    block: Literal["plain", "basic", "bottleneck", "convnext", "inverted"] = "basic"
    """What the stages are made of: a convolution, ResNet's two or three with a sum, ConvNeXt's
    depthwise one with a feed-forward, or the inverted bottleneck (Sandler et al. 2018)."""
    depths: tuple[Layers, ...] = (2, 2, 2, 2)
    """Blocks of each stage."""
    channels: tuple[Size, ...] = (64, 128, 256, 512)
    """Channels that each stage produces."""
    strides: tuple[Size, ...] = (1, 2, 2, 2)
    """Places from one output of a stage's first block to the next."""
    kernels: tuple[Size, ...] = (3, 3, 3, 3)
    """Places that the convolutions of a stage see along each dimension."""
    expansions: tuple[Size, ...] = (1, 1, 1, 1)
    """How many times wider than its outputs the middle of a ConvNeXt block is, than its inputs that
    of an inverted one, and than the middle the outputs of a bottleneck."""
    last_channels: Whole = 0
    """Channels of a convolution of one place with norm and activation after the stages; 0 for none.
    """
    norm: Literal["group", "layer", "affine", "batch"] = "group"
    """Over the places of an image and a group of channels, over the channels of a place, or a scale
    and a bias that are not trained, of an imported BatchNorm; `batch` itself is refused."""
    groups: Size = 32
    """Groups of channels of the norm `group`."""
    norm_epsilon: Annotated[float, Interval(ge=1e-12, le=1)] = 1e-5
    """Added to the variance under the square root."""
    head_epsilon: Annotated[float, Interval(ge=1e-12, le=1)] = 1e-6
    """The same of the norm of what is pooled, with model.head.transform=normed."""
    activation: Literal["relu", "relu6", "gelu", "silu"] = "relu"
    """The non-linearity."""
    padding: Literal["centred", "ends"] = "centred"
    """Zeros around what is read: as many on both sides (PyTorch), or as few as there must be, the
    odd one at the end (TensorFlow)."""
    layer_scale: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Initial factor of what a ConvNeXt block adds, one a channel (Touvron et al. 2021); 0 for
    none."""
    drop_path: Annotated[float, Interval(ge=0, le=0.99)] = 0.0
    """Share of the images for which the last block adds nothing in training; of earlier ones less,
    in proportion to their place (Huang et al. 2016)."""
    dropout: Annotated[float, Interval(ge=0, le=0.99)] = 0.0
    """Share of what is scored that is 0 in training."""
    convolutions: Literal["auto", "cpu", "gpu", "tpu"] = field(default="auto", metadata=FREE)
    """Whose way of computing convolutions is taken: those of each channel by itself as sums of
    shifted inputs on CPUs, those of single places as convolutions on TPUs and as products of
    matrices elsewhere; auto is that of what the run is on."""
    head: HeadConfig = field(
        default_factory=lambda: HeadConfig(kind="labels", outputs=10, pooling="mean")
    )
    """What is asked of the last feature map."""

    def __post_init__(self) -> None:
        for name in ("channels", "strides", "kernels", "expansions"):
            if len(getattr(self, name)) != len(self.depths):
                raise UserError(
                    f"model.{name}={getattr(self, name)} must have {len(self.depths)} numbers, "
                    f"because model.depths={self.depths} are as many stages; try as many"
                )
        if not self.depths:
            raise UserError(
                "model.depths=() must have a number for each stage, because a network without "
                "blocks learns nothing; try --model.depths 2 2"
            )
        self._require_norm()
        self._require_head()

    def _require_norm(self) -> None:
        if self.norm == "batch":
            raise UserError(
                "model.norm=batch must be group, layer or affine, because a BatchNorm in training "
                "makes what is learnt of an image depend on the others of its batch, and so on the "
                "mesh and on micro-batches; try --model.norm group"
            )

    def _require_head(self) -> None:
        kinds = ("labels", "tags") if self.dimensions == 2 else ("labels",)
        if self.head.kind not in kinds:
            raise UserError(
                f"model.head.kind={self.head.kind} must be {' or '.join(kinds)}, because model.kind"
                f"=convnet with model.dimensions={self.dimensions} answers that; try "
                "--model.head.kind labels and as many --model.head.outputs as there are"
            )
        if self.head.kind == "labels" and self.head.pooling != "mean":
            raise UserError(
                f"model.head.pooling={self.head.pooling} must be mean, because the first and the "
                "last place of a feature map are corners; try --model.head.pooling mean"
            )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The table of stages."""
        columns = (self.depths, self.channels, self.strides, self.kernels, self.expansions)
        return tuple(Stage(*row) for row in zip(*columns, strict=True))

    @property
    def first_channels(self) -> int:
        """Channels that the first stage reads."""
        return self.input_channels if self.stem == "none" else self.stem_channels

    @property
    def reduction(self) -> int:
        """Places of the input, along a dimension, for one of the last feature map."""
        pool = 2 if self.stem == "pooled" else 1
        total = 1 if self.stem == "none" else self.stem_stride * pool
        for stage in self.stages:
            total *= stage.stride
        return total

    @property
    def channels_read(self) -> int:
        return self.input_channels

    def build(self, key: "PRNGKeyArray") -> Any:
        from model.families.table import build

        return build(self, key)

    def resolve(self, backend: str) -> "ConvnetConfig":
        resolved: Any = super().resolve(backend)
        return resolved if self.convolutions != "auto" else replace(resolved, convolutions=backend)

    def require_input(self, shape: tuple[int, ...]) -> None:
        places, channels = shape[:-1], shape[-1]
        if len(places) != self.dimensions:
            names = {1: "series", 2: "images"}
            raise UserError(
                f"model.dimensions={self.dimensions} must be {len(places)}, because the data are "
                f"{names[len(places)]}; try --model.dimensions {len(places)}"
            )
        if channels != self.input_channels:
            raise UserError(
                f"model.input_channels={self.input_channels} must be {channels}, because the data "
                f"have so many; try --model.input-channels {channels}"
            )
        if min(places) < self.reduction:
            raise UserError(
                f"data of {' x '.join(map(str, places))} places must have at least "
                f"{self.reduction} along each dimension, because the strides of the stem and of "
                f"model.strides={self.strides} leave none otherwise; try smaller strides, or larger"
                " images"
            )

    def places(self, length: int) -> int:
        # Each stage has its own, which the size of the images decides, so that FLOPs of a row are
        # not known by its weights: 0 says so.
        return 0

    @property
    def questions(self) -> tuple[str, ...]:
        if self.dimensions == 1:
            return ("labels of series",)
        return ("labels of images",) if self.head.kind == "labels" else ("labels of patches",)

    @property
    def width(self) -> int:
        return self.last_channels or self.channels[-1]

    @property
    def depth(self) -> int:
        return sum(self.depths)

    def sizes(self) -> dict[str, int]:
        return {"layers": self.depth, "width": self.width}
