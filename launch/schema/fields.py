"""Fields of configs: the class of their values, and their documentation. Imports no jax."""

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from data.errors import UserError
from model.families import FAMILIES
from model.families.family import FamilyConfig

OLDEST = "decoder"


Classes = Mapping[type, type]
"""Classes from elsewhere by those of ours that fields declare in their place."""


def class_of(declared: type, value: Any, classes: Classes = MappingProxyType({})) -> type:
    """The class of a dataclass, or of the plain values of one, in a field that declares this type.

    ValueError for values of an unknown family.
    """
    if dataclasses.is_dataclass(value):
        return type(value)
    if declared in classes:
        return classes[declared]
    if declared is not FamilyConfig:
        return declared
    kind = value.get("kind", OLDEST) if isinstance(value, Mapping) else OLDEST
    if kind not in FAMILIES:
        near = difflib.get_close_matches(str(kind), FAMILIES, n=1, cutoff=0.0)[0]
        raise UserError(
            f"model.kind={kind!r} must be one of {', '.join(FAMILIES)}, because only these "
            f"families are known here; try {near}, or the Python program that brings that family"
        )
    return FAMILIES[kind]


def documentation(owner: Any) -> dict[str, str]:
    """What a dataclass, those it extends, or a function says of each field or parameter, each as
    one paragraph; fields without any are left out."""
    import docstring_parser

    if not inspect.isclass(owner):
        parsed = [docstring_parser.parse(inspect.getdoc(owner) or "")]
    else:
        classes = [c for c in reversed(owner.__mro__) if dataclasses.is_dataclass(c)]
        parsed = [docstring_parser.parse_from_object(c) for c in classes]
    return {
        each.arg_name: " ".join(each.description.split())
        for docstring in parsed
        for each in docstring.params
        if each.description
    }
