"""Folders of images: the name of the folder that an image lies in is its label."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data import system
from data.cache import is_remote
from data.errors import UserError
from data.sources.source import Corpus, Piece, Record, Source, Unreadable

if TYPE_CHECKING:
    from data.sources.stored_image import StoredImage

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
OTHER_ENDINGS = tuple(
    ".gif .tif .tiff .jp2 .j2k .jxl .avif .heic .heif .jfif .ppm .pgm .pbm .tga .dng .svg".split()
)
"""Of images that are not read, each of which would be missing from its label."""
MAP = ".map.png"
"""Ending of the map of an image: photo.jpg has photo.map.png."""
FIELDS = ("image", "label", "map")


class Images(Source):
    """`images:DIR`, with files DIR/LABEL/NAME.png, .jpg, .jpeg, .webp or .bmp, or of one file.
    Links are followed.

    A record has the `image`, the `label`, which is the path of its folder below DIR, and a `map` of
    class indices, which lies next to it.
    """

    has_fields = True
    example_where = "photos"

    def check(self) -> None:
        super().check()
        if is_remote(self.where) and not os.path.lexists(self.where):
            raise UserError(
                f"data.sources={self.spec!r} must be a local folder, because images are read one "
                "by one; try copying it here, or an npz: or tfds: source"
            )

    def absolute(self) -> str:
        return f"{self.kind}:{os.path.abspath(system.expanded('data.sources', self.where))}"

    def files(self, cache_dir: str, report: Callable[[str], None]) -> list[str]:
        root = Path(self.absolute().partition(":")[2])
        if root.is_file():
            return [str(root)]
        files = [file for file in _below(str(root), ()) if not _is_hidden(file)]
        others = [file for file in files if file.lower().endswith(OTHER_ENDINGS)]
        if others:
            raise UserError(
                f"data.sources={self.spec!r} must hold images of {', '.join(ENDINGS)}, because "
                f"others are not read and none is left out silently, but has {len(others):,} "
                f"others, the first {min(others)}; try converting them, or moving them away"
            )
        return sorted(file for file in files if file.endswith(MAP) or _is_image(file))

    def divide(self, corpus: Corpus) -> list[Piece]:
        return [
            Piece(file=file, start=0, stop=size, size=size)
            for file, size in zip(corpus.files, corpus.sizes, strict=True)
            if not file.endswith(MAP)
        ]

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        """The record of a file."""
        from data.sources.stored_image import StoredImage

        path = Path(piece.file)
        values: dict[str, object] = {}
        for field in fields:
            if field not in FIELDS:
                raise Unreadable(f"a record has no field {field!r} but {', '.join(FIELDS)}")
            if field == "image":
                values[field] = StoredImage(piece.file, path.read_bytes)
            elif field == "label":
                values[field] = self._label(path)
            else:
                values[field] = _map_of(path)
        yield Record(values, piece.file, 0, "")

    def _label(self, path: Path) -> str:
        root = Path(self.absolute().partition(":")[2])
        if path.parent == root or path == root:
            raise Unreadable(
                f"an image must lie in a folder named after its label, as {root}/cat/{path.name}"
            )
        return str(path.parent.relative_to(root))


def _is_image(file: str) -> bool:
    return file.lower().endswith(ENDINGS) and not file.endswith(MAP)


def _is_hidden(file: str) -> bool:
    # What systems leave in folders, such as ._photo.jpg.
    return os.path.basename(file).startswith(".")


def _below(folder: str, above: tuple[str, ...]) -> Iterator[str]:
    """All files below a folder, also behind links; `above` are the real paths of the folders on the
    way to it. ValueError for a link to one of these."""
    real = os.path.realpath(folder)
    if real in above:
        raise UserError(
            f"{folder} must not be a link to a folder that it lies in, because there is no end to "
            f"the images below it, but it is one to {real}; try removing that link"
        )
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _below(entry.path, (*above, real))
            else:
                yield entry.path


def _map_of(path: Path) -> "StoredImage":
    from data.sources.stored_image import StoredImage

    own = path.with_name(path.name.removesuffix(path.suffix) + MAP)
    if not own.exists():
        raise Unreadable(f"its map of class indices must lie next to it, as {own.name}")
    return StoredImage(str(own), own.read_bytes)
