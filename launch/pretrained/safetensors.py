"""Checkpoints in a folder: safetensors, one file or several with an index, or else an npz."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import ml_dtypes
import numpy as np

from data import durable
from data.errors import UserError
from launch.pretrained.npz import NPZ, open_npz
from launch.pretrained.tensors import RawTensor

TYPES: Mapping[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
LONGEST_HEADER = 100_000_000
"""Bytes, as the format's own library has it."""
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "*.pt", "*.pth", "*.ckpt")
CONVERT = (
    'python -c "import torch, safetensors.torch as s; '
    "w = torch.load('pytorch_model.bin', weights_only=True); "
    "s.save_file({k: v.contiguous().clone() for k, v in w.items()}, 'model.safetensors')\""
)


def open_folder(folder: Path) -> dict[str, RawTensor]:
    """The tensors of a checkpoint folder by name; ValueError if it has none, or a file is not
    whole."""
    index = folder / INDEX
    if index.is_file():
        return _open_index(index)
    if (folder / WHOLE).is_file():
        return open_file(folder / WHOLE)
    if (folder / NPZ).is_file():
        return open_npz(folder / NPZ)
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"{folder} must hold {WHOLE}, because {pickles[0]} is a pickle, which can run any "
            f"program when it is read; try once, where torch is: {CONVERT}"
        )
    raise UserError(
        f"{folder} must hold {WHOLE}, {INDEX} with its shards, or {NPZ}, because weights are read "
        "from those, but it has none; try the folder that was downloaded"
    )


def _open_index(index: Path) -> dict[str, RawTensor]:
    try:
        places = json.loads(index.read_bytes())["weight_map"]
        files = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{index} must be JSON with a weight_map of tensors to files, because it says where "
            f"they are, but it is not ({error!r}); try fetching that file again"
        ) from error
    tensors: dict[str, RawTensor] = {}
    for file in files:
        if Path(file).name != file or file in ("", ".", ".."):
            raise UserError(
                f"{index} must name files next to it, because nothing else is read, but it has "
                f"{file!r}; try the index that came with the weights"
            )
        if not (index.parent / file).is_file():
            raise UserError(
                f"{index} must name files that are there, because their tensors are needed, but "
                f"{file} is not; try fetching that file"
            )
        tensors.update(open_file(index.parent / file))
    if missing := sorted(places.keys() - tensors.keys()):
        raise UserError(
            f"{index} must list tensors that its files have, because they are read there, but "
            f"{len(missing):,} are in none: {', '.join(missing[:10])}; try fetching them again"
        )
    return tensors


def open_file(path: Path) -> dict[str, RawTensor]:
    """The tensors of one file, of which the header alone is read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length, header = _header(file, path, size)
    start, tensors = 8 + length, {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        tensor = _tensor(path, name, entry, start)
        end = tensor.offset + math.prod(tensor.shape) * tensor.dtype.itemsize
        if end > size:
            raise UserError(
                f"{path} must have {end:,} bytes, because {name} ends there, but it has {size:,}; "
                "it was cut off: try fetching that file again"
            )
        tensors[name] = tensor
    return tensors


def _header(file: IO[bytes], path: Path, size: int) -> tuple[int, dict[str, Any]]:
    length = int.from_bytes(file.read(8), "little")
    if length > min(LONGEST_HEADER, size - 8):
        raise UserError(
            f"{path} must begin with the length of its header, at most {LONGEST_HEADER:,} bytes "
            f"and no more than the file's {size:,}, but that is {length:,}; try fetching that file "
            "again, it may be cut off or no safetensors file"
        )
    try:
        header = json.loads(file.read(length))
    except ValueError as error:
        raise UserError(
            f"{path} must have a header of JSON, because that says where tensors are, but it is "
            f"not ({error}); try fetching that file again"
        ) from error
    if not isinstance(header, dict):
        raise UserError(f"{path} must have a header of named tensors; try fetching that file again")
    return length, header


def _tensor(path: Path, name: str, entry: Any, start: int) -> RawTensor:
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        first, after = entry["data_offsets"]
        known = TYPES.get(dtype)
        whole = all(isinstance(n, int) and n >= 0 for n in (*shape, first, after))
        if known is not None and whole and after - first == math.prod(shape) * known.itemsize:
            return RawTensor(name, path, start + first, known, shape)
    except (KeyError, TypeError, ValueError):
        pass
    raise UserError(
        f"{path} must describe {name} by a type of {', '.join(TYPES)}, a shape, and as many bytes "
        f"as that has, but it says {json.dumps(entry)[:200]}; try fetching that file again"
    )


class WrittenArray(NamedTuple):
    """An array that is to be written."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def write_file(
    path: Path, entries: Sequence[WrittenArray], array_of: Callable[[WrittenArray], np.ndarray]
) -> None:
    """Write arrays in their order, each of which is asked for when its turn comes."""
    names = {dtype: name for name, dtype in TYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    place = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": names[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [place, place + entry.size],
        }
        place += entry.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with durable.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for entry in entries:
            array = np.asarray(array_of(entry), entry.dtype, order="C")
            assert array.shape == entry.shape, entry.name
            file.write(array.reshape(-1).view(np.uint8).data)
