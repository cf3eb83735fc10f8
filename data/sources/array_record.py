"""TFDS data sets, prepared to array_record and read from it without TensorFlow."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data import system
from data.errors import UserError
from data.sources.record import fields_of
from data.sources.source import PIECE, Piece, Record, Unreadable

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

INSTALL = "pip install -e '.[tensorflow]'"


def files_of(folder: str, split: str) -> list[str]:
    """The files whose content is that split of the data set."""
    info = _built(folder).info
    others = {
        name for other in info.splits if other != split for name in info.splits[other].filenames
    }
    files = (path for path in Path(folder).iterdir() if path.is_file())
    return sorted(str(path) for path in files if path.name not in others)


def divide_records(folder: str, split: str = "train") -> list[Piece]:
    """Ranges of records of a split, of about PIECE bytes each."""
    info = _built(folder).info
    if split not in info.splits:
        raise Unreadable(f"it has no split {split!r} but {', '.join(info.splits) or 'none'}")
    count = info.splits[split].num_examples
    size = max(info.splits[split].num_bytes, 1)
    step = max(count * PIECE // size, 1)
    ranges = [(start, min(start + step, count)) for start in range(0, count, step)]
    return [Piece(file=folder, start=a, stop=b, size=size * (b - a) // count) for a, b in ranges]


def read_records(piece: Piece, fields: Sequence[str], split: str = "train") -> Iterator[Record]:
    """The records of a piece of that split, in order: bytes as text, labels by their names, images
    to be decoded later."""
    import tensorflow_datasets as tfds

    from data.sources.stored_image import StoredImage

    built = _built(piece.file)
    features: Any = built.info.features or {}
    images = [
        field
        for field in fields
        if field in features and isinstance(features[field], tfds.features.Image)
    ]
    encoded: Any = {field: tfds.decode.SkipDecoding() for field in images}
    # TFDS wraps the method so that type checkers lose its arguments.
    source = built.as_data_source(split=split, decoders=encoded or None)  # pyright: ignore
    names: Any = {
        field: feature.names
        for field, feature in features.items()
        if field in fields and getattr(feature, "names", None)
    }
    for i in range(piece.start, piece.stop):
        where = f"record {i}"
        try:
            record = source[i]
        except Exception as error:  # of array_record, of protobuf, of TFDS
            raise Unreadable(f"{where} is damaged ({system.said(error)})") from error
        values = fields_of(record, fields, where, bytes)
        plain = {
            name: StoredImage(
                f"{name!r} in {piece.file} at {where}", partial(_field, source, i, name)
            )
            if name in images
            else _plain(values[name], where, names.get(name))
            for name in fields
        }
        yield Record(plain, piece.file, i, where)


def _field(source: Any, number: int, field: str) -> Any:
    return source[number][field]


def _plain(value: Any, where: str, names: Sequence[str] | None) -> Any:
    if names is not None:
        return names[int(value)]
    if not isinstance(value, bytes):
        return value.tolist() if hasattr(value, "tolist") else value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"{where} is not UTF-8 at its byte {error.start}") from error


def _built(folder: str) -> "tfds.core.DatasetBuilder":
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # of JSON, of protobuf, of TFDS
        raise Unreadable(f"it is no whole TFDS data set ({system.said(error)})") from error


def prepare(builder: "tfds.core.DatasetBuilder", spec: str) -> None:
    """Build the data set if it is not there; ValueError names `spec` and what it lacks."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(file_format="array_record", download_config=config)
        # TFDS wraps the method so that type checkers lose its arguments.
        builder.as_data_source(split=None)  # pyright: ignore[reportCallIssue]
    except ImportError as error:
        raise lacks(spec, error) from error
    except NotImplementedError as error:
        raise UserError(
            f"data.sources={spec!r} must be stored as array_record, because only TensorFlow reads "
            f"other formats, but {builder.data_dir} is not; try moving that folder away, and it is "
            f"prepared again (data sets that need TensorFlow for it: {INSTALL})"
        ) from error
    except (OSError, RuntimeError) as error:  # array_record's own are of the second kind
        raise UserError(
            f"data.sources={spec!r} must be prepared once before it is read, because TFDS downloads"
            f" and converts it, but that failed ({error}); try again with a network and room on "
            "the disk, or prepare it on another machine and name its folder in TFDS_DATA_DIR"
        ) from error


def lacks(spec: str, error: ImportError) -> UserError:
    """The error of a data set whose preparation needs what is not installed."""
    missing = error.name or "tensorflow"
    install = INSTALL if missing.startswith("tensorflow") else f"pip install {missing}"
    return UserError(
        f"data.sources={spec!r} must be prepared once before it is read, because TFDS converts it,"
        f" but that needs {missing}, which is not installed; try {install}, or prepare it on "
        "another machine with file_format='array_record' and name its folder in TFDS_DATA_DIR"
    )
