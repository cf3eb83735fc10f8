"""Parquet: a row is a record."""

from collections.abc import Iterator, Sequence
from typing import Any

from data.sources.paths import Paths
from data.sources.source import Piece, Record, Unreadable


class Parquet(Paths):
    """`parquet:GLOB`."""

    has_fields = True

    def divide_file(self, file: str, size: int) -> list[Piece]:
        """Row groups."""
        from etils import epath

        with epath.Path(file).open("rb") as stream:
            metadata = _parquet(stream).metadata
            groups = [metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)]
        return [Piece(file=file, start=i, stop=i + 1, size=n) for i, n in enumerate(groups)]

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        import pyarrow as pa
        from etils import epath

        with epath.Path(piece.file).open("rb") as stream:
            file = _parquet(stream)
            names = file.schema_arrow.names
            for field in fields:
                _require_column(file, field)
            counts = [file.metadata.row_group(i).num_rows for i in range(piece.stop)]
            row = sum(counts[:-1])
            try:
                columns = [name for name in names if name in fields]
                for batch in file.iter_batches(row_groups=[piece.start], columns=columns):
                    for number in range(batch.num_rows):
                        values = {c: _scalar(batch.column(c)[number], row) for c in columns}
                        yield Record(values, piece.file, row, f"row {row}")
                        row += 1
            except (pa.ArrowException, OSError) as error:
                raise Unreadable(f"row group {piece.start} is damaged ({error})") from error
            if row != sum(counts):
                raise Unreadable(f"row group {piece.start} is damaged (it ends before row {row})")


def _require_column(file: Any, field: str) -> None:
    names = file.schema_arrow.names
    if names.count(field) != 1:
        texts = [c.name for c in file.schema_arrow if str(c.type) in ("string", "large_string")]
        has = "several columns" if field in names else "no column"
        raise Unreadable(f"it has {has} {field!r} but {', '.join(names)}", texts)


def _scalar(value: Any, row: int) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError as error:
        raise Unreadable(f"row {row} is not UTF-8 at its byte {error.start}") from error
    except (ValueError, OverflowError) as error:
        raise Unreadable(f"row {row} cannot be read ({error})") from error


def _parquet(stream: Any) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(stream, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise Unreadable(f"it is no whole Parquet file ({error})") from error
