"""Numbers of a weight from the tensors that hold it: a part at an index, or whole rows."""

import ml_dtypes
import numpy as np

from data.errors import UserError
from launch.pretrained.match import TensorPlace
from launch.pretrained.tensors import Tensor

Index = tuple[slice, ...]
KEPT = {np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)}
"""Types that go onto devices as they are, to be float32 there."""


def read_shard(place: TensorPlace, shape: tuple[int, ...], index: Index) -> np.ndarray:
    """The part of a weight, of that whole shape, at an index, in float32.

    Raises ValueError for numbers that are not finite.
    """
    bounds = [slice(*part.indices(size)[:2]) for part, size in zip(index, shape, strict=True)]
    layers, own = (bounds[0], bounds[1:]) if place.weight.stacked else (slice(0, 1), bounds)
    out = np.empty([b.stop - b.start for b in [layers, *own]], np.float32)
    for number, tensor in enumerate(place.tensors[layers]):
        out[number] = part = _layer(place, tensor, own)
        require_finite(tensor, count_not_finite(part))
    return out if place.weight.stacked else out[0]


def read_rows(place: TensorPlace, layers: slice, rows: slice, *, outputs_first: bool) -> np.ndarray:
    """Rows of a matrix or a table as they lie in the files, [layers, rows, columns]: of what the
    weight produces if `outputs_first`. They are of their type there, if devices take that."""
    weight = place.weight
    columns = slice(place.before, place.before + weight.channels(weight.fan_out))
    if outputs_first:
        rows, columns = slice(columns.start + rows.start, columns.start + rows.stop), None
    elif weight.is_table:
        columns = None
    parts = [_padded(tensor, rows, columns) for tensor in place.tensors[layers]]
    dtypes = {part.dtype for part in parts}
    dtype = parts[0].dtype if len(dtypes) == 1 and dtypes <= KEPT else np.dtype(np.float32)
    parts = [part.astype(dtype, copy=False) for part in parts]
    return np.stack(parts) if len(parts) > 1 else parts[0][None]


def count_not_finite(part: np.ndarray) -> int:
    """How many numbers are infinite or none: those whose exponent has all its bits set."""
    if part.dtype == ml_dtypes.bfloat16:
        return int(np.count_nonzero((part.view(np.uint16) & 0x7F80) == 0x7F80))
    return part.size - int(np.count_nonzero(np.isfinite(part)))


def require_finite(tensor: Tensor, wrong: int) -> None:
    """Raise ValueError if `wrong`, the count of numbers that are not finite, is not 0."""
    if wrong:
        raise UserError(
            f"{tensor.path}: {tensor.name} must hold finite numbers, because they are weights, "
            f"but {wrong:,} are not; try fetching that file again"
        )


def _layer(place: TensorPlace, tensor: Tensor, own: list[slice]) -> np.ndarray:
    """That part of one layer, in the weight's own dimensions."""
    weight = place.weight
    shape = [b.stop - b.start for b in own]
    if weight.is_table:
        return _padded(tensor, *own).astype(np.float32)
    if not weight.is_matrix:
        run, at = _flat(weight.shape, own), place.before
        flat = _padded(tensor, slice(at + run.start, at + run.stop), None)
        return flat.astype(np.float32).reshape(shape)
    n = len(weight.fan_in)
    ins, outs = _flat(weight.shape[:n], own[:n]), _flat(weight.shape[n:], own[n:])
    outs = slice(outs.start + place.before, outs.stop + place.before)
    if place.inputs_first:
        return tensor.read(ins, outs).astype(np.float32).reshape(shape)
    return tensor.read(outs, ins).astype(np.float32).T.reshape(shape)


def _padded(tensor: Tensor, rows: slice, columns: slice | None) -> np.ndarray:
    """Rows of a tensor, and after its last ones zeros, which pad a vocabulary."""
    there = slice(min(rows.start, tensor.rows), min(rows.stop, tensor.rows))
    part = tensor.read(there, columns)
    if lacking := rows.stop - rows.start - len(part):
        return np.concatenate([part, np.zeros((lacking, part.shape[1]), part.dtype)])
    return part


def _flat(shape: tuple[int, ...], bounds: list[slice]) -> slice:
    """The run of flat elements that a part of dimensions is, of which the first alone is cut."""
    inner = 1
    for size, part in zip(shape[1:], bounds[1:], strict=True):
        assert (part.start, part.stop) == (0, size), "no mesh axis cuts inside a head"
        inner *= size
    return slice(bounds[0].start * inner, bounds[0].stop * inner)
