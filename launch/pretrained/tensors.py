"""Tensors in files: where each lies, and a part of one by reading its bytes alone."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from data.errors import UserError

CHUNK = 8 << 20
"""Bytes that are read at once."""


class Tensor(Protocol):
    """An array in a file, of which parts can be read."""

    @property
    def name(self) -> str: ...

    @property
    def path(self) -> Path: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def rows(self) -> int: ...

    def read(self, rows: slice, columns: slice | None = None) -> np.ndarray:
        """These rows, [rows, columns], with those columns of the flat rows, or all."""
        ...


class RawTensor(NamedTuple):
    """An array whose numbers lie one after the other, row by row."""

    name: str
    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def columns(self) -> int:
        """Elements of a row."""
        return math.prod(self.shape[1:])

    def read(self, rows: slice, columns: slice | None = None) -> np.ndarray:
        """These rows, [rows, columns], with those columns of the flat rows; rows are read whole,
        as many short reads would take longer."""
        columns = columns or slice(0, self.columns)
        part = np.empty((rows.stop - rows.start, columns.stop - columns.start), self.dtype)
        if part.size == 0:
            return part
        with self.path.open("rb", buffering=0) as file:
            if part.shape[1] == self.columns:
                self._read_into(file.fileno(), part, rows.start)
                return part
            step = max(1, CHUNK // (self.columns * self.dtype.itemsize))
            for first in range(0, len(part), step):
                block = np.empty((min(step, len(part) - first), self.columns), self.dtype)
                self._read_into(file.fileno(), block, rows.start + first)
                part[first : first + step] = block[:, columns]
        return part

    def _read_into(self, file: int, rows: np.ndarray, first: int) -> None:
        """Read whole rows from the number `first` on."""
        buffer = rows.view(np.uint8).reshape(-1).data
        start, done = self.offset + first * rows.itemsize * rows.shape[1], 0
        while done < len(buffer):
            count = os.preadv(file, [buffer[done : done + CHUNK]], start + done)
            if count == 0:
                raise UserError(
                    f"{self.path} must hold {self.name} from byte {start:,} on, because it was "
                    f"{len(buffer):,} bytes long when it was opened, but it ends there; try "
                    "fetching that file again"
                )
            done += count


def reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The same numbers in the same order in other dimensions."""
    assert isinstance(tensor, RawTensor)
    assert math.prod(tensor.shape) == math.prod(shape)
    return tensor._replace(shape=shape)


Tensors = Mapping[str, Tensor]
