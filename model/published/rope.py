"""RoPE in config.json: by the schema of `transformers` 5, and by that before it."""

from collections.abc import Mapping
from typing import Any, Literal

from data.errors import UserError
from model.families.rope_scaling import FASTEST, RopeScaling
from model.published.fields import Fields

LENGTH = "original_max_position_embeddings"
SPEEDS = {"llama3": ("high_freq_factor", "low_freq_factor"), "yarn": ("beta_fast", "beta_slow")}
"""What `fastest` and `slowest` are called there."""
COMMON = {"rope_type", "type", "rope_theta", "partial_rotary_factor"}
KINDS: Mapping[str, tuple[Literal["none", "linear", "llama3", "yarn"], set[str]]] = {
    "default": ("none", set()),
    "linear": ("linear", {"factor"}),
    "llama3": ("llama3", {"factor", LENGTH, *SPEEDS["llama3"]}),
    "yarn": ("yarn", {"factor", LENGTH, *SPEEDS["yarn"], "attention_factor"}),
}
"""What each kind of stretching is called here, and the fields that it reads."""


def rope_of(
    fields: Fields,
    theta: float = 10_000.0,
    *,
    layers: str | None = None,
    base: str = "rope_theta",
    scaling: str | None = "rope_scaling",
) -> tuple[float, RopeScaling]:
    """The base of the wavelengths, `theta` if none stands there, and their stretching.

    `layers` are those of which it is, where `rope_parameters` has several; `base` and `scaling` are
    the fields of the older schema, None for one that has none. ValueError for a kind of stretching
    that is not here.
    """
    parameters: Mapping[str, Any] = fields.get("rope_parameters", {})
    if layers is not None and layers in parameters:
        parameters = parameters[layers] or {}
    theta = float(parameters.get("rope_theta", fields.get(base, theta)))
    older: Mapping[str, Any] = {} if scaling is None else fields.get(scaling, {})
    stretching = parameters or older
    kind = stretching.get("rope_type", stretching.get("type", "default"))
    ours, read = KINDS.get(kind, ("none", set()))
    strange = sorted(stretching.keys() - read - COMMON)
    if kind not in KINDS or strange:
        raise UserError(
            f"{fields.path}: rope_type={kind!r} must be one of {', '.join(KINDS)}, with fields "
            "that are known, because the model turns its queries by it, but it has "
            f"{dict(stretching)}; try another checkpoint"
        )
    if ours == "none":
        return theta, RopeScaling()
    factor = float(stretching.get("factor", 1.0))
    if ours == "linear":
        return theta, RopeScaling(kind=ours, factor=factor)
    fast, slow = (stretching.get(name) for name in SPEEDS[ours])
    return theta, RopeScaling(
        kind=ours,
        factor=factor,
        trained_length=stretching.get(LENGTH) or fields.size("max_position_embeddings"),
        fastest=None if fast in (None, FASTEST[ours]) else float(fast),
        slowest=1.0 if slow is None else float(slow),
        score_factor=stretching.get("attention_factor"),
    )


def theta_of(fields: Fields, theta: float, *, layers: str, base: str) -> float:
    """As `rope_of` of layers in which nothing is stretched; ValueError if something is."""
    own, scaling = rope_of(fields, theta, layers=layers, base=base, scaling=None)
    if scaling.kind != "none":
        raise UserError(
            f"{fields.path}: rope_type={scaling.kind!r} of {layers} must be 'default', because "
            "waves are not stretched there; try another checkpoint"
        )
    return own


def rope_fields(theta: float, scaling: RopeScaling) -> dict[str, Any]:
    """For every reader, as older ones see none but their own schema."""
    older = scaling_fields(scaling)
    return {
        "rope_theta": theta,
        "rope_scaling": older,
        "rope_parameters": parameters_of(theta, scaling),
    }


def parameters_of(theta: float, scaling: RopeScaling) -> dict[str, Any]:
    """By the newer schema."""
    return {**(scaling_fields(scaling) or {"rope_type": "default"}), "rope_theta": theta}


def scaling_fields(scaling: RopeScaling) -> dict[str, Any] | None:
    """By the older schema; None if nothing is stretched."""
    if scaling.kind == "none":
        return None
    fields: dict[str, Any] = {"rope_type": scaling.kind, "factor": scaling.factor}
    if scaling.kind in SPEEDS:
        fast, slow = SPEEDS[scaling.kind]
        fields |= {LENGTH: scaling.trained_length, fast: scaling.fast, slow: scaling.slowest}
    if scaling.score_factor is not None:
        fields["attention_factor"] = scaling.score_factor
    return fields
