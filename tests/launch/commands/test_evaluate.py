"""What `meshloom evaluate`, and what writes from Python, refuse before a run is opened."""

from pathlib import Path
from typing import Any

import pytest

from launch.api import evaluate, generate
from launch.presets.preset import preset
from launch.run.saved import Saved
from launch.run.written_texts import require_written
from model.beams import Beams

RUN = Path("no-run")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"beams": Beams(count=3)}, "beams=3 must come with measures"),
        ({"tokens": 5}, "tokens=5 must come with measures"),
    ],
)
def test_options_of_writing_need_something_to_write(options: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        evaluate(RUN, **options)


def test_a_length_penalty_needs_beams() -> None:
    with pytest.raises(ValueError, match=r"length_penalty=0\.5 must come with beams"):
        generate(RUN, ["a"], length_penalty=0.5)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tiny-t5-spans", "is encoder_decoder and its data are SpansConfig"),
        ("tiny", "is decoder and its data are DataConfig"),
    ],
)
def test_measures_of_texts_need_sources(name: str, words: str) -> None:
    state: Any = None
    with pytest.raises(ValueError, match=words):
        require_written(RUN, Saved(preset(name), state, 0, {}, None), ["exact"])
