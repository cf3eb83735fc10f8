"""Every numeric option of every command declares its bounds, and nothing beyond them is taken."""

import contextlib
import dataclasses
import importlib
import inspect
import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, get_args, get_type_hints

import pytest
import tyro
from hypothesis import given
from hypothesis import strategies as st

from launch.commands.launch import LAUNCHERS
from launch.commands.table import COMMANDS, run
from launch.config import to_dict
from launch.ladder.studies import smoke
from launch.ladder.study import GridRow, Study
from launch.presets.preset import preset
from launch.schema.bounds import Number, Option, numeric_options
from launch.schema.command_line import parse, parse_call, run_subcommand
from launch.schema.structured import structured
from tests.advice import followed
from tests.command import ROOT

NEEDED = {"image": "a/b:1", "claim": "runs", "name": "a", "zone": "us-central2-b"}


class BoundedCommand(NamedTuple):
    """What the parser is asked to read."""

    name: str
    kind: Any
    default: Any = None

    def read(self, arguments: list[str]) -> object:
        settings = {} if self.default is None else {"default": self.default}
        if isinstance(self.kind, type):
            return parse(self.kind, arguments, prog=self.name, **settings)
        return parse_call(self.kind, arguments, prog=self.name)

    def needed(self) -> list[str]:
        """Arguments that are no numbers, without which it does nothing."""
        if isinstance(self.kind, type):
            fields = [f for f in dataclasses.fields(self.kind) if self.default is None]
            lacking = [f.name for f in fields if f.default is f.default_factory]
        else:
            parameters = inspect.signature(self.kind).parameters.values()
            lacking = [p.name for p in parameters if p.default is p.empty]
        numbers = {option.name for option in numbers_of(self.kind)}
        kinds = get_type_hints(self.kind, include_extras=True)
        words = []
        for name in lacking:
            flag = [] if tyro.conf.Positional in get_args(kinds[name]) else [f"--{name}"]
            words += [] if name in numbers else [*flag, NEEDED.get(name, "x.json")]
        return words


def commands() -> list[BoundedCommand]:
    """All that our programs parse, as the parser is asked for it."""
    seen: list[BoundedCommand] = []
    tables: list[tuple[dict[str, Any], str]] = []

    def cli(kind: Any, *, prog: str, default: Any = None, **settings: Any) -> Any:
        if settings.get("return_unknown_args"):
            return kind(), []
        seen.append(BoundedCommand(prog, inspect.unwrap(kind), default))
        raise SystemExit(0)

    def table(commands: dict[str, Any], *, prog: str, **_: Any) -> None:
        tables.append((commands, prog))
        raise SystemExit(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tyro, "cli", cli)
        patch.setattr(tyro.extras, "subcommand_cli_from_dict", table)
        for main in (*(partial(run, name) for name in COMMANDS), *LAUNCHERS.values()):
            with contextlib.suppress(SystemExit):
                main(["--help"])
        for subcommands, prog in tables:
            for name in subcommands:
                with contextlib.suppress(SystemExit):
                    run_subcommand(subcommands, [name, "--help"], prog=prog, about="")
    for path in sorted((ROOT / "tests" / "bench").glob("*.py")):
        if "run_module(main," in path.read_text():
            name = f"tests.bench.{path.stem}"
            seen.append(BoundedCommand(name, importlib.import_module(name).main))
    return seen


ALL = commands()
IDS = [command.name for command in ALL]


def numbers_of(kind: Any) -> list[Option]:
    return [option for option, _ in numeric_options(kind)]


def ends(number: Number) -> tuple[float, float]:
    """The lowest and the highest value within bounds."""
    assert math.isfinite(number.low) and math.isfinite(number.high), "a number declares both bounds"
    return number.base(number.low), number.base(number.high)


def beyond(number: Number) -> list[float]:
    low, high = ends(number)
    if number.base is int:
        return [low - 1, high + 1, -(10**30), 10**30]
    return [
        *(math.nextafter(low, -math.inf), math.nextafter(high, math.inf)),
        *(-1e300, 1e300, math.nan, math.inf, -math.inf),
    ]


def typed(option: Option, values: Sequence[float]) -> list[str]:
    flag = [] if option.positional else [f"--{option.name.replace('_', '-')}"]
    return [*flag, *map(str, values)]


def test_every_command_is_seen() -> None:
    programs = {command.name.split()[1] for command in ALL if command.name.startswith("meshloom")}
    assert programs == set(COMMANDS)
    assert sum(len(numbers_of(command.kind)) for command in ALL) > 200
    parsed = re.compile(r"tyro\.cli\(|subcommand_cli_from_dict\(|ArgumentParser\(")
    places = {
        str(path.relative_to(ROOT))
        for folder in ("launch", "tests/bench")
        for path in (ROOT / folder).rglob("*.py")
        if not path.name.startswith("test_") and parsed.search(path.read_text())
    }
    # The latter checks its three numbers itself: a machine with GPUs need not have the parser.
    assert places == {"launch/schema/command_line.py", "tests/bench/gpu.py"}


@pytest.mark.parametrize("command", ALL, ids=IDS)
def test_a_number_beyond_its_bounds_is_no_option_of_any_command(command: BoundedCommand) -> None:
    for option in numbers_of(command.kind):
        for place, number in enumerate(option.numbers):
            inside = [ends(other)[0] for other in option.numbers]
            for value, fits in [
                *((v, False) for v in beyond(number)),
                *((v, True) for v in ends(number)),
            ]:
                inside[place] = value
                assert (option.must(tuple(inside)) is None) == fits, (option.name, value)


@pytest.mark.parametrize("command", ALL, ids=IDS)
def test_a_command_line_of_numbers_beyond_their_bounds_is_refused_until_all_advice_is_taken(
    command: BoundedCommand, capsys: pytest.CaptureFixture[str]
) -> None:
    options = numbers_of(command.kind)
    wrong = []
    for n, option in enumerate(options):
        values = beyond(option.numbers[0])
        rest = [ends(other)[0] for other in option.numbers[1:]]
        wrong += typed(option, [values[n % len(values)], *rest])
    messages = followed(command.read, [*command.needed(), *wrong], most=2 * len(options))
    for option in options:
        assert any(f"{option.name}=" in message for message in messages), option.name
    for message in messages:
        assert re.match(r"[\w.]+=.* must .*, because .*; try ", message)
    assert capsys.readouterr().err == ""


@given(data=st.data())
def test_a_config_built_in_python_or_read_from_a_file_keeps_the_bounds(data: st.DataObject) -> None:
    run = preset("tiny")
    option = data.draw(st.sampled_from(numbers_of(type(run))))
    value = data.draw(st.sampled_from(beyond(option.numbers[0])))
    value = [value] + [0] * (len(option.numbers) - 1) if several(option) else value
    *groups, field = option.name.split(".")
    values = to_dict(run)
    inner, parts = values, [run]
    for group in groups:
        inner, parts = inner[group], [*parts, getattr(parts[-1], group)]
    inner[field] = value
    with pytest.raises(ValueError, match=rf"{option.name}=.* in a file must be .*; try {field}: "):
        structured(type(run), values, "a file", "a run config")
    part: Any = tuple(value) if isinstance(value, list) else value
    with pytest.raises(ValueError, match="must"):
        for config, name in zip(reversed(parts), [field, *reversed(groups)], strict=True):
            part = dataclasses.replace(config, **{name: part})


def several(option: Option) -> bool:
    return len(option.numbers) > 1 or option.default == ()


@given(data=st.data())
def test_a_study_keeps_the_bounds(data: st.DataObject) -> None:
    values = to_dict(smoke())
    row = values["grid"][1]
    name, number = data.draw(
        st.sampled_from([(o.field, o.numbers[0]) for o in numbers_of(GridRow)])
    )
    value = data.draw(st.sampled_from(beyond(number)))
    row[name] = [value] if name in ("widths", "seeds") else value
    with pytest.raises(ValueError, match=rf"grid\[1\]\.{name}=.* in a file must be "):
        structured(Study, values, "a file", "a study")
