"""Configs from plain values, as YAML holds them; whatever does not fit is refused by its name.
Imports no jax."""

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

from data.errors import UserError
from launch.schema import bounds
from launch.schema.fields import UNIONS, Classes, class_of

Config = TypeVar("Config")
UNQUOTED = ", because YAML reads off, no, on and yes without quotes as booleans"


def structured(
    kind: type[Config],
    values: Mapping[str, Any],
    where: str,
    what: str,
    classes: Classes = MappingProxyType({}),
) -> Config:
    """The config of that kind from `to_dict`'s result; ValueError, naming `where` and `what` it
    must hold, on unfit keys and values. `classes` as in `launch.schema.fields.class_of`."""
    import cattrs

    def exact(value: Any, kind: type) -> Any:
        number = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if type(value) is not kind and not number:
            why = f"{UNQUOTED}; try quotes" if kind is str and isinstance(value, bool) else ""
            if kind is float and isinstance(value, str) and (meant := _number(value)):
                why = f", because YAML reads {value} as text; try {meant}"
            raise UserError(f"{value!r} must be of type {kind.__name__}{why}")
        return kind(value)

    def reason(error: BaseException, _: type | None) -> str:
        missing = isinstance(error, KeyError)
        return f"field {error} must be given, because it has no default" if missing else str(error)

    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook_func(
        lambda declared: declared in UNIONS or declared in classes,
        lambda value, base: converter.structure(value, class_of(base, value, classes)),
    )
    for scalar in (int, float, str, bool):
        converter.register_structure_hook(scalar, exact)
    _refuse_unfit(values, kind, "", where, classes)
    bounds.require_values(kind, values, where, classes)
    try:
        return converter.structure(values, kind)
    except cattrs.BaseValidationError as error:
        reasons = "; ".join(cattrs.transform_error(error, path=where, format_exception=reason))
        raise UserError(f"{where} must hold {what}, but: {reasons}") from error


def _refuse_unfit(values: Any, config: type, prefix: str, where: str, classes: Classes) -> None:
    """Raise ValueError on a field that there is not, and on a value that is none of its choices."""
    if not isinstance(values, Mapping):
        return
    known = {f.name: f.type for f in dataclasses.fields(config)}
    for name, value in values.items():
        if name == "kind" and name not in known:
            raise UserError(
                f"{prefix}kind={value!r} in {where} must be of a class that is known here, because "
                "its fields are read by that class, but only the Python program that trained the "
                "run has it; try launch.api there, with that run's config"
            )
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.4) or list(known)
            raise UserError(
                f"{prefix}{name} in {where} must be a field of {config.__name__}, because nothing "
                f"would read it; try {' or '.join(prefix + n for n in near)}"
            )
        kind = known[name]
        if isinstance(kind, type):
            kind = class_of(kind, value, classes)
        _refuse_shape(value, kind, prefix + name, where)
        if dataclasses.is_dataclass(kind):
            _refuse_unfit(value, kind, f"{prefix}{name}.", where, classes)  # type: ignore[arg-type]
        elif dataclasses.is_dataclass(item := next(iter(get_args(kind)), None)):
            for place, part in enumerate(value):
                _refuse_shape(part, item, f"{prefix}{name}[{place}]", where)
                _refuse_unfit(part, item, f"{prefix}{name}[{place}].", where, classes)  # type: ignore[arg-type]
        elif get_origin(kind) is Literal and value not in (choices := get_args(kind)):
            boolean = isinstance(value, bool)
            word = ("off", "on")[value] if boolean else str(value)
            (near,) = difflib.get_close_matches(word, choices, n=1, cutoff=0.0)
            why = UNQUOTED if boolean else ", because only these are known"
            raise UserError(
                f"{prefix}{name}={value!r} in {where} must be one of {', '.join(choices)}{why}; "
                f"try {f'{near!r} in quotes' if near in ('on', 'off') else near}"
            )


def _refuse_shape(value: Any, kind: Any, name: str, where: str) -> None:
    """Raise ValueError if a group of fields is none, or a list is none."""
    shape, wanted, example = "", Mapping, ""
    if dataclasses.is_dataclass(kind):
        fields = [f.name for f in dataclasses.fields(kind)]
        shape, example = "a mapping of fields", f"{name}: {{{fields[0]}: ...}}"
    elif get_origin(kind) is tuple:
        shape, wanted = "a list", list | tuple
        example = f"{name}: [{'...' if value is None else value}]"
    if shape and not isinstance(value, wanted):
        raise UserError(
            f"{name}={value!r} in {where} must be {shape}, because it holds several values; "
            f"try {example}"
        )


def _number(text: str) -> str:
    """A number as YAML reads it as one; nothing if the text is none."""
    try:
        mantissa, _, exponent = f"{float(text):.15e}".partition("e")
    except ValueError:
        return ""
    digits = mantissa.rstrip("0")
    return f"{digits}{'0' if digits.endswith('.') else ''}e{exponent}" if exponent else ""
