"""The kinds of source, each a file here with its class. They are imported when they are used, so
that `--help` stays fast."""

import difflib
import pkgutil

from data.errors import UserError
from data.sources.source import Source

SOURCES = {
    "text": "data.sources.text:Text",
    "jsonl": "data.sources.jsonl:Jsonl",
    "csv": "data.sources.csv:Csv",
    "conll": "data.sources.conll:Conll",
    "parquet": "data.sources.parquet:Parquet",
    "images": "data.sources.images:Images",
    "npz": "data.sources.npz:Npz",
    "ts": "data.sources.ts:Ts",
    "tfds": "data.sources.tfds:Tfds",
    "synthetic": "data.sources.synthetic:Synthetic",
    "stdlib": "data.sources.stdlib:Stdlib",
}


def source_of(spec: str) -> Source:
    """The source of a spec `kind:where`; ValueError if there is no such kind."""
    kind, _, where = spec.partition(":")
    if kind not in SOURCES:
        (close, *_) = difflib.get_close_matches(kind, SOURCES, n=1, cutoff=0.5) or SOURCES
        example = source_of(f"{close}:{where}").example
        raise UserError(
            f"data.sources={spec!r} must begin with one of {', '.join(SOURCES)}, because the kind "
            f"says how to read it; try {example!r}"
        )
    return pkgutil.resolve_name(SOURCES[kind])(spec)
