"""How a published model sees images: preprocessor_config.json, in and out."""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.errors import UserError

FILE = "preprocessor_config.json"
BRIGHTEST = 255
BICUBIC = 3
"""As Pillow counts its filters."""
WHOLE_FROM = 384
"""Side from which ConvNeXt sees whole images, whatever `crop_pct` says."""


def with_images(data: Any, model: Any, folder: Path) -> Any:
    """Data of images of the channels that the model reads, of its size if it has one, and seen as
    the file in its folder says; ValueError for a file that says what is not done here."""
    own = {"channels": model.channels_read}
    if path := _file(folder):
        fields = json.loads(path.read_bytes())
        own |= _statistics(fields, path) | _view(fields, path)
    if size := getattr(model, "image_size", None):
        own["image_size"] = size
    known = {field.name for field in dataclasses.fields(data)}
    return dataclasses.replace(data, **{name: own[name] for name in own.keys() & known})


def resampled(folder: Path) -> int:
    """The number of the filter that images were resized by, as Pillow counts them."""
    path = _file(folder)
    return BICUBIC if path is None else json.loads(path.read_bytes()).get("resample", BICUBIC)


def _file(folder: Path) -> Path | None:
    path = folder / FILE
    return path if path.is_file() else None


def _statistics(fields: Mapping[str, Any], path: Path) -> dict[str, tuple[float, ...]]:
    scale = fields.get("rescale_factor", 1 / BRIGHTEST)
    if not fields.get("do_rescale", True) or not math.isclose(scale, 1 / BRIGHTEST, rel_tol=1e-3):
        raise UserError(
            f"{path}: rescale_factor={scale} must be 1/{BRIGHTEST}, because brightness is from 0 "
            "to 1 here; try a checkpoint that says so"
        )
    if not fields.get("do_normalize", True):
        return {"mean": (0.0,), "std": (1.0,)}
    pairs = {"mean": "image_mean", "std": "image_std"}
    return {
        ours: tuple(float(value) for value in fields[theirs])
        for ours, theirs in pairs.items()
        if fields.get(theirs)
    }


def _view(fields: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Height and width, and the share of the sides that is seen: `crop_pct`, which ConvNeXt has
    for sizes below 384, or that of the crop in what is resized."""
    cropped = fields.get("do_center_crop", True) and fields.get("crop_size")
    names = [name for name, said in (("crop_size", cropped), ("size", fields.get("size"))) if said]
    if not names:
        return {}
    sizes = [_sides(fields[name], f"{path}: {name}") for name in names]
    share = min(sizes[0]) / min(sizes[-1])
    if fields.get("crop_pct") and (cropped or min(sizes[0]) < WHOLE_FROM):
        share = float(fields["crop_pct"])
    if not 0 < share <= 1:
        raise UserError(
            f"{path}: crop_size={fields['crop_size']} must be within size={fields['size']}, because"
            " nothing is put around images here; try a larger size in that file"
        )
    return {"image_size": sizes[0], "centre": share}


def _sides(size: Any, where: str) -> tuple[int, int]:
    """Height and width of what the file says: both, the shorter one, or one number for both."""
    said = size if isinstance(size, dict) else {"shortest_edge": size}
    named = (said.get(name, said.get("shortest_edge")) for name in ("height", "width"))
    sides = [side for side in named if isinstance(side, int) and side > 0]
    if len(sides) != 2:
        raise UserError(
            f"{where}={size} must have a height and a width, or a shortest_edge, because images "
            "are resized to that; try writing them into that file"
        )
    return sides[0], sides[1]


def preprocessor(data: Any) -> dict[str, Any]:
    """What the file says of data of images: `transformers` then sees what evaluation sees, if they
    are square."""
    height, width = data.image_size
    channels = range(data.channels)
    mean, std = (
        list(values) if len(values) > 1 else [values[0] for _ in channels]
        for values in (data.mean, data.std)
    )
    return {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": round(min(height, width) / data.centre)},
        "resample": BICUBIC,
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "crop_pct": data.centre,
        "do_rescale": True,
        "rescale_factor": 1 / BRIGHTEST,
        "do_normalize": True,
        "image_mean": mean,
        "image_std": std,
        "do_convert_rgb": data.channels == 3,
    }
