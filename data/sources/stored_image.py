"""Images that records hold: read and decoded when they are needed."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from data import system
from data.errors import UserError

DEEP = ("I", "F")
"""First letters of Pillow's modes of more than 8 bits, which it would clip to 255."""
CUT = re.compile(r";16[BLN]\b")
"""In what Pillow calls the pixels of a file of 16 bits a channel whose upper 8 alone it reads."""
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""EXIF's field, and its values with which width and height change places."""


@dataclass(frozen=True)
class StoredImage:
    """An image of a record: encoded bytes, or an array [H, W] or [H, W, C] of uint8 or of floats
    from 0 to 1. `name` is its file, or its place in one."""

    name: str
    read: Callable[[], bytes | np.ndarray]

    def __str__(self) -> str:
        return self.name

    def content(self) -> bytes:
        """What decides whether it is held out."""
        content = self.read()
        return content if isinstance(content, bytes) else content.tobytes()

    def size(self) -> tuple[int, int]:
        """H, W as they are seen. ValueError names an image that cannot be opened."""
        content = self.read()
        if not isinstance(content, bytes):
            return content.shape[0], content.shape[1]
        with self._opened(content) as image:
            turned = image.getexif().get(ORIENTATION) in TURNED
            return (image.width, image.height) if turned else (image.height, image.width)

    def pixels(self, channels: int) -> np.ndarray:
        """[H, W, C] of uint8, or of float32 from 0 to 1; 1 channel is grey, 3 are red, green and
        blue. ValueError names an image that cannot be decoded, or is no such array."""
        content = self.read()
        if isinstance(content, bytes):
            with self._decoded(content) as image:
                plain = image.convert("L" if channels == 1 else "RGB")
                return np.array(plain).reshape(plain.height, plain.width, channels)
        content = content[:, :, None] if content.ndim == 2 else content
        if content.ndim != 3 or content.shape[-1] not in (1, channels):
            raise UserError(
                f"{self.name} must be an array of height, width and {channels} channels, because "
                f"data.channels={channels}, but its shape is {content.shape}; try "
                + ("training with --data.channels 3, or " if content.shape[-1] == 3 else "")
                + "another array"
            )
        content = np.broadcast_to(content, (*content.shape[:2], channels))
        if content.dtype == np.uint8:
            return content
        low, high = float(content.min()), float(content.max())
        if content.dtype.kind != "f" or not (low >= 0 and high <= 1):
            raise UserError(
                f"{self.name} must hold uint8 from 0 to 255, or floats from 0 to 1, because these "
                f"are brightness, but it holds {content.dtype} from {low} to {high}; try dividing "
                "by the largest value there can be"
            )
        return content.astype(np.float32)

    def indices(self) -> np.ndarray:
        """A map of class indices [H, W]: of a palette's image the indices themselves."""
        content = self.read()
        if isinstance(content, bytes):
            with self._decoded(content) as image:
                if image.mode not in ("L", "P", "1"):
                    raise UserError(
                        f"{self.name} must have one channel of 8 bits or a palette, because it maps"
                        f" each pixel to the index of its class, but its mode is {image.mode}; try "
                        "saving it as a greyscale PNG"
                    )
                return np.array(image, np.uint8)
        if content.ndim != 2 or content.dtype.kind not in "iu":
            raise UserError(
                f"{self.name} must be an array of height and width of whole numbers, because it "
                "maps each pixel to the index of its class, but it is "
                f"{content.dtype}{list(content.shape)}; try another array"
            )
        return content

    @contextmanager
    def _decoded(self, content: bytes) -> Iterator[Image.Image]:
        """The image, decoded and upright."""
        with self._opened(content) as image, ImageOps.exif_transpose(image) as upright:
            upright.load()
            yield upright

    @contextmanager
    def _opened(self, content: bytes) -> Iterator[Image.Image]:
        """The image, of which Pillow has read the header. ValueError if it cannot read it, or what
        is done with it, if it has more than 8 bits a channel, or if it is so large that it may be
        there to fill the memory."""
        most = Image.MAX_IMAGE_PIXELS or 0
        try:
            with Image.open(io.BytesIO(content)) as image:
                if image.width * image.height > most:
                    raise Image.DecompressionBombError
                how = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
                if image.mode.startswith(DEEP) or CUT.search(how):
                    raise UserError(
                        f"{self.name} must have 8 bits a channel, because more would be clipped, "
                        f"but its pixels are {how or image.mode}; try saving it with 8 bits"
                    )
                yield image
        except UserError:
            raise
        # The warning is an error where Python is told so.
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UserError(
                f"{self.name} must have at most {most:,} pixels, because a larger one may be made "
                "to fill the memory, but it has more; try a smaller copy"
            ) from error
        except Exception as error:  # of zlib, of struct, of Pillow's plugins
            raise UserError(
                f"{self.name} must be an image that can be decoded, because no example is left out "
                f"silently, but: {system.said(error)}; try repairing that file or moving it away"
            ) from error


def image_of(value: object, field: str, origin: str) -> StoredImage:
    """The image of a field; ValueError, naming its place, if it is none."""
    if isinstance(value, np.ndarray):
        return StoredImage(f"{field!r} in {origin}", lambda: value)
    if not isinstance(value, StoredImage):
        raise UserError(
            f"field {field!r} must be an image, but in {origin} it is {type(value).__name__}; try "
            "another field, or a source images:, npz: or tfds:"
        )
    return value
