"""Checkpoints in NumPy's own files: an archive of arrays that `numpy.savez` wrote, read where they
lie in it."""

import math
import zipfile
from pathlib import Path

import numpy as np

from data.errors import UserError
from launch.pretrained.tensors import RawTensor

NPZ = "model.npz"
LOCAL_HEADER = 30
"""Bytes before the name of a member, the last four of which are the lengths of the name and of what
follows it."""


def open_npz(path: Path) -> dict[str, RawTensor]:
    """The arrays of an archive, of which the headers alone are read; ValueError for one that is
    damaged or compressed, and for arrays that are not plain numbers."""
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = [_array(path, archive, member) for member in archive.infolist()]
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(
            f"{path} must be an archive of arrays as `numpy.savez` writes it, because weights are "
            f"read from it, but: {error}; try fetching it again"
        ) from error
    return {array.name: array for array in arrays}


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> RawTensor:
    name = member.filename.removesuffix(".npy")
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise UserError(
            f"{path} must hold {name} as it is, because each device reads its own part, but it is "
            'compressed; try once: python -c "import numpy as n; '
            f"n.savez('{NPZ}', **n.load('{NPZ}'))\""
        )
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
        header = file.tell()
    if dtype.kind not in "biuf" or (by_columns and len(shape) > 1):
        raise UserError(
            f"{path} must hold numbers row by row, because they are weights, but {name} is of "
            f"{dtype}{' by columns' * by_columns}; try saving it as float32"
        )
    size = header + math.prod(shape) * dtype.itemsize
    if size != member.file_size:
        raise ValueError(f"{name} has {member.file_size:,} bytes, and its shape {size:,}")
    with path.open("rb") as file:
        file.seek(member.header_offset + LOCAL_HEADER - 4)
        lengths = np.frombuffer(file.read(4), "<u2")
    start = member.header_offset + LOCAL_HEADER + int(lengths.sum(dtype=np.int64))
    return RawTensor(name, path, start + header, dtype, shape)
