from pathlib import Path

import pytest

from data.errors import UserError
from launch.commands.generate import GenerateOptions
from launch.schema.command_line import parse
from tests.advice import followed


def test_a_temperature_that_logits_divided_by_it_overflow_is_refused() -> None:
    def read(arguments: list[str]) -> GenerateOptions:
        return parse(GenerateOptions, arguments, prog="meshloom generate")

    (message,) = followed(read, ["run", "--temperature", "1e-30"])
    assert message.startswith("temperature=1e-30 must be 0 or at least 1e-06, because ")
    assert read(["run", "--temperature", "0"]).run == Path("run")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--beams 3 --temperature 0", "temperature=0.0 must be left out with beams=3, because "),
        ("--beams 3 --top-p 0.5", "top_p=0.5 must be left out with beams=3, because "),
        ("--beams 3 --samples 2", "samples=2 must be left out with beams=3, because "),
        ("--length-penalty 0.6", "length_penalty=0.6 must come with beams, because "),
    ],
)
def test_beams_draw_nothing(flags: str, message: str) -> None:
    options = parse(GenerateOptions, ["run", *flags.split()], prog="meshloom generate")
    with pytest.raises(UserError) as error:
        options.decoding()
    assert str(error.value).startswith(message)


def test_beams_are_chosen() -> None:
    words = ["run", "--beams", "3", "--length-penalty", "0.6"]
    chosen = parse(GenerateOptions, words, prog="meshloom generate").decoding()
    assert vars(chosen) == {"count": 3, "length_penalty": 0.6}
