import dataclasses

import pytest

from launch.presets.preset import preset
from launch.run.resume import StartingPoint, require_steps
from tests.advice import followed
from train.report.record import Place


@pytest.mark.parametrize(
    ("words", "step", "refusals"),
    [
        ("--train.steps 4 --profile 0 3", 9, 2),
        ("--train.steps 9 --profile 20 23", 8, 1),
        ("--train.steps 9 --profile 0 3", 9, 1),
        ("--train.steps 9 --profile 8 12", 0, 0),
    ],
)
def test_a_profile_or_an_end_that_cannot_be_is_refused_until_the_advice_is_taken(
    words: str, step: int, refusals: int
) -> None:
    tiny = preset("tiny")
    rows = tiny.train.batch_size

    def required(words: list[str]) -> None:
        steps = words[words.index("--train.steps") + 1]
        start = words[words.index("--profile") + 1 :] if "--profile" in words else []
        profile = (int(start[0]), int(start[1])) if start else None
        train = dataclasses.replace(tiny.train, steps=int(steps))
        config = dataclasses.replace(tiny, train=train, profile=profile)
        place = Place(step=step, examples=step * rows)
        require_steps(config, StartingPoint(rows, place))

    assert len(followed(required, words.split())) == refusals
