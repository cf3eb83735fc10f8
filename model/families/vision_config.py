"""What a Vision Transformer has beyond other stacks of blocks. Imports no jax, so that `--help`
stays fast."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal, Self

from annotated_types import Interval

from data.errors import UserError
from data.fields import Size, Whole
from model.families.blocks_config import BlocksConfig
from model.families.family import Attended
from model.head_config import HeadConfig

if TYPE_CHECKING:
    from jaxtyping import Array

    from model.attention.mask import MaskKind

QUESTIONS = {"labels": "labels of images", "tags": "labels of patches", "embedding": "embeddings"}
"""What a head is asked, by its kind; images have no words and no spans."""


@dataclass(frozen=True, kw_only=True)
class VisionConfig(BlocksConfig):
    """Blocks over the patches of an image: ViT (Dosovitskiy et al. 2020) and DINOv2 (Oquab et al.
    2023), with registers (Darcet et al. 2023), by configuration."""

    kind: Literal["vision"] = "vision"
    """Which family it is."""
    image_size: tuple[Size, Size] = (224, 224)
    """Height and width of its images, for which it has positions."""
    patch_size: Size = 16
    """Height and width of a patch, of which each is a token; they divide the image's."""
    channels: Size = 3
    """C, numbers of a pixel."""
    class_token: bool = True
    """A vector before the patches, which stands for the whole image."""
    registers: Whole = 0
    """Vectors next to it, without places, which keep what is of no patch."""
    layer_scale: Annotated[float, Interval(ge=1e-30, le=1e3)] | None = None
    """Multiply what each branch adds by a vector that begins with this everywhere (DINOv2); None is
    no such vector."""
    mask_token: bool = False
    """Keep the vector that stood for hidden patches when DINOv2 was trained; nothing reads it, and
    an export has it."""
    interpolation: Literal["bicubic", "bicubic_antialias"] = "bicubic"
    """How positions for another size are made of those that were learnt: as in ViT and DINOv2, or
    averaged where there are fewer, as in DINOv2 with registers."""
    dropout: Annotated[float, Interval(ge=0, le=0.99)] = 0.0
    """Share of the embedding and of each sublayer's output that is 0 in training. Attention weights
    have none, as fast kernels never hold them."""
    norm_epsilon: Annotated[float, Interval(ge=1e-30, le=1)] = 1e-6
    """Added to the variance inside the norm."""
    activation: Literal["gelu", "gelu_tanh", "silu", "relu"] = "gelu"
    """Non-linearity of the feed-forward layer."""
    head: HeadConfig = field(default_factory=lambda: HeadConfig(kind="labels", outputs=1000))
    """What is asked of the hidden states."""

    def __post_init__(self) -> None:
        patch = self.patch_size
        if any(side % patch for side in self.image_size):
            near = " ".join(str(max(1, round(side / patch)) * patch) for side in self.image_size)
            raise UserError(
                f"model.image_size={_by(self.image_size)} must be multiples of model.patch_size="
                f"{patch}, because an image is cut into whole patches; try --model.image-size "
                f"{near}"
            )
        if self.head.kind not in QUESTIONS:
            raise UserError(
                f"model.head.kind={self.head.kind} must be one of {', '.join(QUESTIONS)} with "
                "model.kind=vision, because an image has no tokens of a vocabulary; try "
                "--model.head.kind labels"
            )
        if self.head.pooling == "last":
            raise UserError(
                "model.head.pooling=last must be first, mean or first_and_mean with model.kind="
                "vision, because the last patch stands for no image; try --model.head.pooling mean"
            )
        if not self.class_token and self.head.pooling != "mean" and self.head.kind != "tags":
            raise UserError(
                f"model.head.pooling={self.head.pooling} must be mean with "
                "model.class_token=False, because no token stands for the image; try "
                "--model.head.pooling mean"
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        height, width = self.image_size
        return height // self.patch_size, width // self.patch_size

    @property
    def prefix(self) -> int:
        """Tokens before those of the patches."""
        return self.class_token + self.registers

    @property
    def channels_read(self) -> int:
        return self.channels

    def places(self, length: int) -> int:
        """Tokens of its images, whatever the data count."""
        rows, columns = self.grid
        return self.prefix + rows * columns

    def resized(self, table: "Array", theirs: Self) -> "Array":
        """A table [P, D] of positions for images of another size, for those of this model."""
        from model.interpolation import interpolated

        kept = int(self.class_token)
        return interpolated(table, theirs.grid, self.grid, self.interpolation, kept=kept)

    def require_input(self, shape: tuple[int, ...]) -> None:
        *size, channels = shape
        if len(shape) != 3:
            raise UserError(
                "model.kind=vision must read images, because it cuts them into patches, but the "
                "data are series; try a preset of series"
            )
        if channels != self.channels:
            raise UserError(
                f"model.channels={self.channels} must be {channels}, because the images of the "
                f"data have so many numbers a pixel; try --model.channels {channels}"
            )
        if tuple(size) != self.image_size:
            patch = self.patch_size
            whole = not any(side % patch for side in size)
            words = " ".join(map(str, size))
            raise UserError(
                f"images of {_by(size)} must be of model.image_size={_by(self.image_size)}, "
                "because the model has positions for that size; try "
                + (f"--model.image-size {words}" if whole else f"sizes that {patch} divides")
                + ", or other sizes of the data's images"
            )

    @property
    def questions(self) -> tuple[str, ...]:
        return (QUESTIONS[self.head.kind],)

    @property
    def masks(self) -> "tuple[MaskKind, ...]":
        from model.attention.mask import MaskKind

        return (MaskKind(causal=False),)

    @property
    def gate_bias(self) -> bool:
        return self.gated and self.bias

    @property
    def attended(self) -> Attended:
        return Attended(self.num_heads, self.head_dim, ((None, self.num_layers),), causal=False)

    @property
    def residual_sums(self) -> int:
        return 2

    def sizes(self) -> dict[str, int]:
        return {**super().sizes(), "places": self.places(1), "patch": self.patch_size}


def _by(size: "tuple[int, ...] | list[int]") -> str:
    return " x ".join(map(str, size))
