"""Fields of configs: the class of their values, and their documentation. Imports no jax."""

import dataclasses
import difflib
import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from data.arrays_config import ImagesConfig, PatchesConfig, SeriesConfig
from data.config import DataConfig, DataKind, MaskedConfig
from data.errors import UserError
from data.examples_config import (
    AnswersConfig,
    LabelledConfig,
    PairsConfig,
    TaggedConfig,
    TargetsConfig,
)
from data.spans_config import SpansConfig
from model.families import FAMILIES
from model.families.family import FamilyConfig

DATA_KINDS: dict[str, type[DataKind]] = {
    "tokens": DataConfig,
    "masked": MaskedConfig,
    "labels": LabelledConfig,
    "tags": TaggedConfig,
    "span": AnswersConfig,
    "embedding": PairsConfig,
    "targets": TargetsConfig,
    "spans": SpansConfig,
    "images": ImagesConfig,
    "patches": PatchesConfig,
    "series": SeriesConfig,
}
UNIONS: dict[type, tuple[str, Mapping[str, type], str]] = {
    FamilyConfig: ("model", FAMILIES, "decoder"),
    DataKind: ("data", DATA_KINDS, "tokens"),
}
"""Classes whose subclasses are told apart by `kind`: the group of fields, the subclasses, and the
oldest, which a config without a kind means."""


Classes = Mapping[type, type]
"""Classes from elsewhere by those of ours that fields declare in their place."""


def class_of(declared: type, value: Any, classes: Classes = MappingProxyType({})) -> type:
    """The class of a dataclass, or of the plain values of one, in a field that declares this type.

    ValueError for values of an unknown kind.
    """
    if dataclasses.is_dataclass(value):
        return type(value)
    if declared in classes:
        return classes[declared]
    if declared not in UNIONS:
        return declared
    group, kinds, oldest = UNIONS[declared]
    kind = value.get("kind", oldest) if isinstance(value, Mapping) else oldest
    if kind not in kinds:
        near = difflib.get_close_matches(str(kind), kinds, n=1, cutoff=0.0)[0]
        raise UserError(
            f"{group}.kind={kind!r} must be one of {', '.join(kinds)}, because only these "
            f"are known here; try {near}, or the Python program that brings that kind"
        )
    return kinds[kind]


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
