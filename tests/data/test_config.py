"""What DataConfig refuses, and that it loads fast."""

import subprocess
import sys

import pytest

from data.config import DataConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sources": ()}, r"data\.sources=\(\) must name at least one corpus"),
        ({"sources": ("foo",)}, r"data\.sources='foo' must begin with .* try 'text:PATH'"),
        ({"sources": ("jsnl:a.jsonl",)}, r"data\.sources='jsnl:a\.jsonl' .* try 'jsonl:a\.jsonl'"),
        ({"sources": ("stdlb",)}, "try 'stdlib'"),
        ({"sources": ("stdlib:3.11",)}, "must be just 'stdlib'"),
        ({"sources": ("parquet:",)}, "must say where the corpus lies, .* try 'parquet:PATH'"),
        ({"sources": ("tfds",)}, "try 'tfds:NAME'"),
        ({"sources": ("synthetic:many",)}, "must give a positive number of characters"),
        (
            {"weights": (1.0, 2.0)},
            "one weight for each of the 1 sources, because it has 2; try .* 1$",
        ),
    ],
)
def test_refuses(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(**fields)


def test_imports_nothing_heavy() -> None:
    code = "import data.config, sys; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    heavy = {"numpy", "jax", "grain", "orbax", "tensorflow_datasets", "etils", "pyarrow"}
    assert not heavy & set(loaded)
