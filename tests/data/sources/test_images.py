"""Folders of images, and what is said of files that are none."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.errors import UserError
from data.sources.images import Images
from data.sources.source import Corpus, Unreadable
from data.sources.stored_image import StoredImage

PIXELS = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def encoded(image: Image.Image, kind: str = "png") -> bytes:
    content = io.BytesIO()
    image.save(content, kind)
    return content.getvalue()


PNG = encoded(Image.fromarray(PIXELS))


def corpus(spec: str) -> Corpus:
    source = Images(spec)
    files = tuple(source.files("", print))
    sizes = tuple(Path(file).stat().st_size for file in files)
    return Corpus(source=source, field="", files=files, sizes=sizes, digest="", cache_dir="")


def test_labels_are_the_paths_of_folders_and_maps_lie_next_to_images(tmp_path: Path) -> None:
    for name in ("cat/b.PNG", "cat/a.png", "dog/small/c.png", "cat/.hidden.png", "cat/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    (tmp_path / "cat" / "a.map.png").write_bytes(encoded(Image.fromarray(PIXELS[..., 0] % 3)))
    whole = corpus(f"images:{tmp_path}")
    fields = ("image", "label")
    records = [r for piece in whole.pieces() for r in whole.records(piece, fields)]
    said = [(str(Path(r.origin).relative_to(tmp_path)), r.values["label"]) for r in records]
    assert said == [("cat/a.png", "cat"), ("cat/b.PNG", "cat"), ("dog/small/c.png", "dog/small")]
    np.testing.assert_array_equal(records[0].values["image"].pixels(3), PIXELS)
    (mapped,) = whole.records(whole.pieces()[0], ["map"])
    np.testing.assert_array_equal(mapped.values["map"].indices(), PIXELS[..., 0] % 3)
    with pytest.raises(ValueError, match=r"b\.PNG its map .* must lie next to it, as b\.map\.png"):
        list(whole.records(whole.pieces()[1], ["map"]))


def test_an_image_without_a_folder_has_no_label(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    for spec in (f"images:{tmp_path}", f"images:{tmp_path}/a.png"):
        whole = corpus(spec)
        assert len(list(whole.records(whole.pieces()[0], ["image"]))) == 1
        with pytest.raises(ValueError, match=r"must lie in a folder named after its label"):
            list(whole.records(whole.pieces()[0], ["label"]))


def test_links_are_followed_and_other_formats_refused(tmp_path: Path) -> None:
    for name in ("elsewhere/cat/a.png", "photos/dog/b.png", "photos/dog/._c.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PNG)
    photos = tmp_path / "photos"
    (photos / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    assert corpus(f"images:{photos}").files == (
        str(photos / "cat/a.png"),
        str(photos / "dog/b.png"),
    )
    (tmp_path / "elsewhere" / "cat" / "all").symlink_to(photos)
    with pytest.raises(ValueError, match=r"cat/all must not be a link to a folder that it lies in"):
        corpus(f"images:{photos}")
    (tmp_path / "elsewhere" / "cat" / "all").unlink()
    for name in ("c.TIFF", "d.gif"):
        (photos / "dog" / name).write_bytes(PNG)
    with pytest.raises(ValueError, match=r"has 2 others, the first .*dog/c\.TIFF; try converting"):
        corpus(f"images:{photos}")


def test_what_is_no_field_is_named() -> None:
    piece = corpus(f"images:{__file__}").pieces()[0]
    with pytest.raises(Unreadable, match="no field 'kind' but image, label, map"):
        list(Images("images:x").records(piece, ["kind"]))


def test_grey_and_colour_become_what_rows_ask_for() -> None:
    grey, clear = Image.fromarray(PIXELS[..., 0]), Image.fromarray(PIXELS).convert("RGBA")
    for image in (grey, clear, grey.convert("P"), grey.convert("1")):
        for channels in (1, 3):
            pixels = StoredImage("a", lambda image=image: encoded(image)).pixels(channels)
            assert pixels.shape == (5, 7, channels) and pixels.dtype == np.uint8
    turned = Image.fromarray(PIXELS)
    exif = turned.getexif()
    exif[0x0112] = 6
    content = io.BytesIO()
    turned.save(content, "png", exif=exif)
    shown = StoredImage("a", content.getvalue).pixels(3)
    np.testing.assert_array_equal(shown, np.rot90(PIXELS, -1))
    assert StoredImage("a", content.getvalue).size() == (7, 5)
    assert StoredImage("a", lambda: PNG).size() == PIXELS.shape[:2]


def png(side: int, bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG that says it has side x side pixels of so many bits a channel, and of that type."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    header = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def huge(side: int) -> bytes:
    return png(side, 8, 0, bytes(99))


def deep_colour() -> bytes:
    """2 x 2 pixels of 16 bits a channel, which Pillow calls RGB."""
    return png(2, 16, 2, bytes(2 * (1 + 2 * 6)))


DEEP = encoded(Image.fromarray(np.full((4, 4), 40_000, np.uint16)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can be decoded"),
        (b"no image", "can be decoded"),
        (PNG[:-30], "can be decoded"),
        (PNG[:60] + b"x" + PNG[61:], "can be decoded"),
        (encoded(Image.fromarray(np.tile(PIXELS, (9, 9, 1))), "jpeg")[:-60], "can be decoded"),
        (huge(10_000), r"at most 89,478,485 pixels.* has more"),
        (huge(20_000), r"at most 89,478,485 pixels.* has more"),
        (DEEP, "8 bits a channel.* its pixels are I;16B"),
        (deep_colour(), "8 bits a channel.* its pixels are RGB;16B"),
        (np.full((4, 4), 2.0), "floats from 0 to 1.* it holds float64 from 2.0 to 2.0"),
        (np.zeros((4, 4), np.int64), "hold uint8.* it holds int64"),
        (np.zeros((4, 4, 2)), r"3 channels.* its shape is \(4, 4, 2\); try another array"),
    ],
)
def test_what_is_no_image_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"^the-file must .*{message}"):
        StoredImage("the-file", lambda: content).pixels(3)


@pytest.mark.parametrize(
    ("content", "message"),
    [(PNG, "one channel of 8 bits or a palette.* RGB"), (np.zeros((4, 4)), "whole numbers")],
)
def test_what_is_no_map_is_refused_by_name(content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=f"^the-file must .*{message}"):
        StoredImage("the-file", lambda: content).indices()


def test_a_palette_is_a_map_of_its_indices() -> None:
    image = Image.fromarray(PIXELS[..., 0]).convert("P")
    np.testing.assert_array_equal(
        StoredImage("a", lambda: encoded(image)).indices(), np.asarray(image)
    )
