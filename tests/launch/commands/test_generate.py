from pathlib import Path

from launch.commands.generate import GenerateOptions
from launch.schema.command_line import parse
from tests.advice import followed


def test_a_temperature_that_logits_divided_by_it_overflow_is_refused() -> None:
    def read(arguments: list[str]) -> GenerateOptions:
        return parse(GenerateOptions, arguments, prog="meshloom generate")

    (message,) = followed(read, ["run", "--temperature", "1e-30"])
    assert message.startswith("temperature=1e-30 must be 0 or at least 1e-06, because ")
    assert read(["run", "--temperature", "0"]).run == Path("run")
