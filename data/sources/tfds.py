"""Data sets of TensorFlow Datasets, by name: a record of a split is a document."""

import difflib
import json
import os
from collections.abc import Callable, Iterator, Sequence

from data import durable
from data.cache import digest_of, local_cache, locked
from data.errors import UserError
from data.sources.array_record import divide_records, files_of, lacks, prepare, read_records
from data.sources.source import Corpus, Piece, Record, Source


class Tfds(Source):
    """`tfds:NAME`, of which the train split is read, or `tfds:NAME@SPLIT`."""

    has_fields = True

    @property
    def name(self) -> str:
        return self.where.partition("@")[0]

    @property
    def split(self) -> str:
        return self.where.partition("@")[2] or "train"

    def files(self, cache_dir: str, report: Callable[[str], None]) -> list[str]:
        """Those of the prepared data set, remembered so that TFDS is imported only once."""
        known = local_cache(cache_dir) / "tfds" / f"{digest_of(self.where)[:16]}.json"
        if known.exists():
            files = json.loads(known.read_text())
            if all(os.path.exists(file) for file in files):
                return files
        report(f"{self.spec}: finding or preparing the data set")
        with locked(known.with_suffix(".lock"), report):
            files = files_of(prepare_named(self.name), self.split)
            durable.write(known, json.dumps(files))
        return files

    def divide(self, corpus: Corpus) -> list[Piece]:
        folder = os.path.dirname(corpus.files[0])
        with corpus.readable(folder):
            return divide_records(folder, self.split)

    def records(self, piece: Piece, fields: Sequence[str]) -> Iterator[Record]:
        return read_records(piece, fields, self.split)


def prepare_named(name: str) -> str:
    """Find or build a TFDS data set by name; returns where its records lie."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError as error:
        known = [line.removeprefix("\t- ") for line in str(error).splitlines()]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or ["imdb_reviews"]
        raise UserError(
            f"data.sources='tfds:{name}' must name a TFDS data set, because none is called so; "
            f"try 'tfds:{close[0]}'" + "".join(f" or 'tfds:{other}'" for other in close[1:])
        ) from error
    except ImportError as error:
        raise lacks(f"tfds:{name}", error) from error
    prepare(builder, f"tfds:{name}")
    return str(builder.data_dir)
