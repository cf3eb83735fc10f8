"""`layer_types` of config.json: which layers see all keys, and which those of a window."""

from collections.abc import Sequence
from typing import Any, Literal

from data.errors import UserError
from model.families.decoder_config import DecoderConfig
from model.published.fields import Fields

WIDE, NEAR = "full_attention", "sliding_attention"


def pattern_of(fields: Fields, usual: Sequence[str]) -> tuple[int | None, Literal["first", "last"]]:
    """`global_every` and `global_place` of a decoder; `usual` are the types if none stand there.

    ValueError for layers that do not repeat.
    """
    types = list(fields.get("layer_types", list(usual)))
    if WIDE not in types:
        return None, "first"
    for every in range(1, len(types) + 1):
        places: tuple[tuple[int, Literal["first", "last"]], ...] = (
            (0, "first"),
            (every - 1, "last"),
        )
        for place, name in places:
            if types == [WIDE if n % every == place else NEAR for n in range(len(types))]:
                return every, name
    raise UserError(
        f"{fields.path}: layer_types must be {WIDE} for the first or the last of every so many "
        f"layers and {NEAR} for the others, because layers repeat here, but they are "
        f"{', '.join(types)[:300]}; try another checkpoint"
    )


def types_of(config: DecoderConfig) -> dict[str, Any]:
    """The field of a decoder."""
    return {"layer_types": [WIDE if wide else NEAR for wide in config.global_layers]}
