"""The bounds that numbers declare in their types: checked and worded here, for every way in.

An option says `Annotated[int, Interval(ge=1, le=64)]`; a float is finite whatever it declares.
Imports no jax.
"""

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import tyro
from annotated_types import Interval

from data.errors import UserError
from launch.schema.fields import Classes, class_of, documentation


class Number(NamedTuple):
    """The type of one number: int or float, and the closed interval it declares."""

    base: type
    low: Any = -math.inf
    high: Any = math.inf

    def must(self, value: float) -> str | None:
        """What the value must be and is not; None if it lies within the bounds."""
        if isinstance(value, float) and not math.isfinite(value):
            return "finite"
        if value < self.low:
            return f"at least {self.low}"
        return f"at most {self.high}" if value > self.high else None

    def nearest(self, value: float) -> float:
        """The value moved within the bounds; of floats 1, if it can be, as bounds are extremes."""
        unity = self.base is float and self.low <= 1 <= self.high
        return self.base(min(self.high, max(self.low, 1 if unity else value)))


class Option(NamedTuple):
    """A field of a dataclass, or a parameter of a function."""

    owner: Any
    """That class or function, whose docstring documents it."""
    field: str
    numbers: tuple[Number, ...]
    """Those that its type is made of: itself, its elements, its alternatives."""
    group: type | None
    """The dataclass that it is, or is a list of."""
    default: Any
    """None if it has none."""
    positional: bool
    unnamed: bool
    """Whether its own fields are named without it."""
    name: str = ""
    """As in `train.optimizer.beta1`."""

    @property
    def flag(self) -> str:
        """What is typed before its value."""
        return "" if self.positional else f"--{self.name.replace('_', '-')} "

    @property
    def meaning(self) -> str:
        """The first sentence of its documentation, as a part of a sentence."""
        text = documentation(self.owner).get(self.field) or self.field.replace("_", " ")
        text = text.split(". ")[0].split("; ")[0].rstrip(".")
        return text[0].lower() + text[1:] if text[1:2].islower() or text[1:2] == " " else text

    def must(self, value: Any) -> str | None:
        """What the first of its numbers that lies beyond its bounds must be; None if none does."""
        faults = (number.must(each) for number, each in self._pairs(value))
        return next((fault for fault in faults if fault is not None), None)

    def nearest(self, value: Any) -> Any:
        """The value with each number moved within its bounds; several of fixed places ascend."""
        if len(self.numbers) > 1:
            return tuple(number.nearest(-math.inf) + n for n, number in enumerate(self.numbers))
        moved = [
            each if number.must(each) is None else number.nearest(each)
            for number, each in self._pairs(value)
        ]
        return tuple(moved) if isinstance(value, tuple | list) else moved[0]

    def _pairs(self, value: Any) -> list[tuple[Number, int | float]]:
        """Each number of the value with its type; of the last, if there are more values."""
        values = value if isinstance(value, tuple | list) else [value]
        kept = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
        if not self.numbers or len(kept) < len(values):
            return []
        return [(self.numbers[min(i, len(self.numbers) - 1)], v) for i, v in enumerate(kept)]


class OutOfBounds(UserError):
    """A number beyond the bounds of its option, in the file `where` if it is not typed; `usual` is
    a value to try, if that is sound."""

    def __init__(self, option: Option, value: Any, where: str = "", usual: Any = None) -> None:
        self._arguments = option, value, where
        tried = option.nearest(value)
        for sound in (option.default, usual):
            if sound not in (None, ()) and option.must(sound) is None:
                tried = sound
        place = f" in {where}" if where else ""
        advice = f"{option.flag}{_typed(tried)}"
        if where:
            advice = f"{option.field}: {list(tried) if isinstance(tried, tuple) else tried}"
        super().__init__(
            f"{option.name}={_typed(value)}{place} must be {option.must(value)}, because "
            f"it means: {option.meaning}; try {advice}"
        )

    def with_usual(self, usual: Any) -> "OutOfBounds":
        """The same with the value to try that `usual`, a dataclass of options, has."""
        if usual is None:
            return self
        values = {o.name: value for o, value in numeric_options(type(usual), _fields(usual))}
        return OutOfBounds(*self._arguments, values.get(self._arguments[0].name))


def require(config: Any) -> None:
    """Raise OutOfBounds for the first number of a dataclass, at any depth, beyond its bounds."""
    require_values(type(config), _fields(config))


def require_values(
    owner: Any,
    values: Mapping[str, Any],
    where: str = "",
    classes: Classes = MappingProxyType({}),
) -> None:
    """`require` for plain values of a dataclass, as the file `where` has them, or of a function;
    those that are no numbers are left to others. `classes` as in `launch.schema.fields.class_of`.
    """
    for option, value in numeric_options(owner, values, classes):
        if option.must(value) is not None:
            raise OutOfBounds(option, value, where)


def call_of(command: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """A function with the signature of `command` that checks its arguments and returns the call,
    which is still to be made."""

    @functools.wraps(command)
    def checked(*args: Any, **named: Any) -> Callable[[], Any]:
        require_values(command, inspect.signature(command).bind(*args, **named).arguments)
        return functools.partial(command, *args, **named)

    return checked


def numeric_options(
    owner: Any,
    values: Mapping[str, Any] = MappingProxyType({}),
    classes: Classes = MappingProxyType({}),
    prefix: str = "",
) -> Iterator[tuple[Option, Any]]:
    """The options of a dataclass or a function, at any depth, that are numbers, each with what
    `values` says of it."""
    for option in _options(owner):
        value = values.get(option.field)
        below = prefix if option.unnamed else f"{prefix}{option.field}."
        if option.numbers:
            yield option._replace(name=prefix + option.field), value
        elif option.group is not None and isinstance(value, tuple | list):
            for place, each in enumerate(value):
                name = f"{prefix}{option.field}[{place}]."
                yield from numeric_options(option.group, _fields(each), classes, name)
        elif option.group is not None:
            inner = class_of(option.group, value, classes)
            yield from numeric_options(inner, _fields(value), classes, below)


@functools.cache
def _options(owner: Any) -> list[Option]:
    if dataclasses.is_dataclass(owner):
        defaults = {field.name: field.default for field in dataclasses.fields(owner)}
    else:
        signature = inspect.signature(owner).parameters.values()
        defaults = {parameter.name: parameter.default for parameter in signature}
    kinds = get_type_hints(owner, include_extras=True)
    absent = (dataclasses.MISSING, inspect.Parameter.empty)
    options = []
    for field, default in defaults.items():
        kind = kinds[field]
        extras = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
        unnamed = any(getattr(extra, "name", None) == "" for extra in extras)
        default = None if default in absent else default
        positional = tyro.conf.Positional in extras
        numbers = tuple(_numbers(kind))
        options.append(Option(owner, field, numbers, _group(kind), default, positional, unnamed))
    return options


def _numbers(kind: Any) -> list[Number]:
    if get_origin(kind) is Annotated:
        base, *extras = get_args(kind)
        intervals = [extra for extra in extras if isinstance(extra, Interval)]
        return [Number(base, i.ge, i.le) for i in intervals] or _numbers(base)
    if kind in (int, float):
        return [Number(kind)]
    if get_origin(kind) in (tuple, Union, UnionType):
        return [number for part in get_args(kind) for number in _numbers(part)]
    return []


def _group(kind: Any) -> type | None:
    if get_origin(kind) is Annotated:
        return _group(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return next((part for part in map(_group, get_args(kind)) if part is not None), None)
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _fields(value: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value if isinstance(value, Mapping) else {}


def _typed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
