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
from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt

from data.errors import UserError
from launch.schema.fields import Classes, class_of, documentation

HOLDS: dict[type, tuple[str, str, Callable[[Any, Any], bool]]] = {
    Ge: ("ge", "at least", lambda value, limit: value >= limit),
    Gt: ("gt", "above", lambda value, limit: value > limit),
    Le: ("le", "at most", lambda value, limit: value <= limit),
    Lt: ("lt", "below", lambda value, limit: value < limit),
}


class Number(NamedTuple):
    """The type of one number: int or float, and the bounds it declares."""

    base: type
    limits: tuple[tuple[type, float], ...]

    def must(self, value: float) -> str | None:
        """What the value must be and is not; None if it lies within the bounds."""
        if isinstance(value, float) and not math.isfinite(value):
            return "finite"
        for kind, limit in self.limits:
            _, word, holds = HOLDS[kind]
            if not holds(value, limit):
                return f"{word} {limit}"
        return None

    def near(self, value: float) -> float:
        """A value within the bounds, from that side of them where `value` is, if it can be."""
        ends = sorted((limit for _, limit in self.limits), key=lambda limit: abs(limit - value))
        if isinstance(value, float) and not math.isfinite(value):
            ends.sort()
        beside = [end + step for end in ends for step in (1, -1)]
        first = [1] if self.base is float else []
        for tried in (*first, *ends, *beside, sum(ends) / max(len(ends), 1)):
            if self.must(tried) is None:
                return self.base(tried)
        return self.base(0)


class Option(NamedTuple):
    """A field of a dataclass, or a parameter of a function."""

    owner: Any
    """That class or function, whose docstring documents it."""
    field: str
    numbers: tuple[Number, ...]
    """Those that its type is made of: itself, its elements, its alternatives."""
    group: type | None
    """The dataclass that it holds, or holds several of."""
    default: Any
    """None if it has none."""
    positional: bool
    unnamed: bool
    """Whether the names of its own fields stand for themselves."""
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
            return tuple(number.near(-math.inf) + n for n, number in enumerate(self.numbers))
        moved = [
            each if number.must(each) is None else number.near(each)
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
    """A number beyond the bounds of its option, in the file `where` if it is not typed."""

    def __init__(self, option: Option, value: Any, usual: Any = None, where: str = "") -> None:
        self.option, self.value = option, value
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
        """The same with the value to try that a sound dataclass of options has."""
        return OutOfBounds(self.option, self.value, _known(usual).get(self.option.name))


def require(config: Any, usual: Any = None) -> None:
    """Raise OutOfBounds for the first number of a dataclass, at any depth, beyond its bounds;
    `usual`, of the same class, holds values to try."""
    _require(type(config), _fields(config), usual)


def require_values(kind: type, values: Mapping[str, Any], where: str, classes: Classes) -> None:
    """`require` for the plain values of a dataclass, as the file `where` holds them; those that are
    no numbers are left to others. `classes` as in `launch.schema.fields.class_of`."""
    _require(kind, values, where=where, classes=classes)


def call_of(command: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
    """A function with the signature of `command` that checks its arguments and returns the call,
    which is still to be made."""

    @functools.wraps(command)
    def checked(*args: Any, **named: Any) -> Callable[[], Any]:
        _require(command, inspect.signature(command).bind(*args, **named).arguments)
        return functools.partial(command, *args, **named)

    return checked


def numeric_options(owner: Any, prefix: str = "") -> Iterator[Option]:
    """The options of a dataclass or a function, at any depth, that hold numbers."""
    for option in _options(owner):
        if option.group is not None:
            yield from numeric_options(
                class_of(option.group, option.default), _below(prefix, option)
            )
        elif option.numbers:
            yield option._replace(name=prefix + option.field)


def _require(
    owner: Any,
    values: Mapping[str, Any],
    usual: Any = None,
    where: str = "",
    classes: Classes = MappingProxyType({}),
) -> None:
    for option, value in _valued(owner, values, classes=classes):
        if option.must(value) is not None:
            raise OutOfBounds(option, value, _known(usual).get(option.name), where)


def _known(config: Any) -> dict[str, Any]:
    """The numbers of a dataclass by name; of nothing, if it is None."""
    if config is None:
        return {}
    return {option.name: value for option, value in _valued(type(config), _fields(config))}


def _valued(
    owner: Any,
    values: Mapping[str, Any],
    prefix: str = "",
    classes: Classes = MappingProxyType({}),
) -> Iterator[tuple[Option, Any]]:
    """The options that hold numbers, and what `values` says of them."""
    for option in _options(owner):
        value = values.get(option.field)
        below = _below(prefix, option)
        if option.numbers:
            yield option._replace(name=prefix + option.field), value
        elif option.group is not None and isinstance(value, tuple | list):
            for place, each in enumerate(value):
                yield from _valued(option.group, _fields(each), f"{below[:-1]}[{place}].", classes)
        elif option.group is not None:
            inner = class_of(option.group, value, classes)
            yield from _valued(inner, _fields(value), below, classes)


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
        base, *others = get_args(kind)
        if base not in (int, float):
            return _numbers(base)
        parts = [p for other in others for p in _ungrouped(other) if type(p) in HOLDS]
        return [Number(base, tuple((type(p), getattr(p, HOLDS[type(p)][0])) for p in parts))]
    if kind in (int, float):
        return [Number(kind, ())]
    if get_origin(kind) in (tuple, Union, UnionType):
        return [number for part in get_args(kind) for number in _numbers(part)]
    return []


def _group(kind: Any) -> type | None:
    if get_origin(kind) is Annotated:
        return _group(get_args(kind)[0])
    if get_origin(kind) is tuple:
        return next((part for part in map(_group, get_args(kind)) if part is not None), None)
    return kind if isinstance(kind, type) and dataclasses.is_dataclass(kind) else None


def _below(prefix: str, option: Option) -> str:
    return prefix if option.unnamed else f"{prefix}{option.field}."


def _fields(value: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value if isinstance(value, Mapping) else {}


def _ungrouped(extra: Any) -> list[Any]:
    return list(extra) if isinstance(extra, GroupedMetadata) else [extra]


def _typed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
