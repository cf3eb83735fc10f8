"""Tensors in files: where each lies, and a part of one by reading its bytes alone."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from data.errors import UserError

CHUNK = 64 << 20
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
        """These rows, [rows, columns], with those columns of the flat rows; only their bytes are
        read, and for whole rows as one run."""
        width, size = self.columns, self.dtype.itemsize
        columns = columns or slice(0, width)
        wanted = columns.stop - columns.start
        part = np.empty((rows.stop - rows.start, wanted), self.dtype)
        flat = part.view(np.uint8).reshape(part.shape[0], -1)
        with self.path.open("rb", buffering=0) as file:
            if wanted == width:
                start = self.offset + rows.start * width * size
                self._read_into(file.fileno(), flat.reshape(-1).data, start)
            else:
                for number, row in enumerate(range(rows.start, rows.stop)):
                    start = self.offset + (row * width + columns.start) * size
                    self._read_into(file.fileno(), flat[number].data, start)
        return part

    def _read_into(self, file: int, buffer: memoryview, start: int) -> None:
        done = 0
        while done < len(buffer):
            count = os.preadv(file, [buffer[done : done + CHUNK]], start + done)
            if count == 0:
                raise UserError(
                    f"{self.path} must hold {self.name} from byte {start:,} on, because it was "
                    f"{len(buffer):,} bytes long when it was opened, but it ends there; try "
                    "fetching that file again"
                )
            done += count


Tensors = Mapping[str, Tensor]
