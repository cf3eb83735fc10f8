"""A decoder of another width: its depth, heads and feed-forward width follow. Imports no jax."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Interval

from data.errors import UserError
from data.fields import Size

if TYPE_CHECKING:
    from model.families.decoder_config import DecoderConfig

FOLLOWING = ("embed_dim", "num_layers", "num_heads", "num_kv_heads", "head_dim", "mlp_dim")
"""Fields that `of_width` sets."""


@dataclass(frozen=True, kw_only=True)
class Proportions:
    """Depth, heads and feed-forward width of a model, from its width."""

    head_dim: Size
    """H, the same at every width; the width must be a multiple."""
    width_per_layer: Annotated[float, Interval(ge=1e-3, le=1e6)]
    """D / L; the layers are rounded, and at least one."""
    mlp_ratio: Annotated[float, Interval(ge=1e-3, le=1e3)] = 4.0
    """F / D, with F rounded to a multiple of 8; 8/3 if gated has as many parameters as 4 if not."""


def of_width(base: "DecoderConfig", width: int, rule: Proportions) -> "DecoderConfig":
    """`base` of that width; ValueError if it is not made of whole heads."""
    if width < 1 or width % rule.head_dim:
        near = max(1, round(width / rule.head_dim)) * rule.head_dim
        raise UserError(
            f"widths={width} must be a multiple of family.head_dim={rule.head_dim}, because it "
            f"is made of whole heads; try {near}"
        )
    heads = width // rule.head_dim
    return replace(
        base,
        embed_dim=width,
        num_layers=max(1, round(width / rule.width_per_layer)),
        num_heads=heads,
        num_kv_heads=heads,
        head_dim=rule.head_dim,
        mlp_dim=max(8, 8 * round(rule.mlp_ratio * width / 8)),
    )


def widened(base: "DecoderConfig", width: int, parametrization: str) -> "DecoderConfig":
    """`base` with so wide a residual stream, more heads of the same size, and a feed-forward layer
    in proportion; under muP, `base` itself is the base.

    ValueError if the width is not made of whole heads.
    """
    if width < 1 or width % base.head_dim:
        near = max(1, round(width / base.head_dim)) * base.head_dim
        raise UserError(
            f"widths={width} must be a multiple of model.head_dim={base.head_dim}, because "
            f"a wider model has more heads of that size; try {near}"
        )
    heads, mup = width // base.head_dim, parametrization == "mup"
    changes: Mapping[str, Any] = {
        "embed_dim": width,
        "num_heads": heads,
        "num_kv_heads": max(1, heads * base.num_kv_heads // base.num_heads),
        "mlp_dim": max(8, 8 * round(base.mlp_dim / base.embed_dim * width / 8)),
        "parametrization": "mup" if mup else "standard",
        "base_width": base.embed_dim if mup else None,
        "base_head_dim": None,
    }
    return replace(base, **changes)
