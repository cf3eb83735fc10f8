"""The network of each family. It is imported when it is built, so that `--help` stays fast."""

import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

NETWORKS = {
    "decoder": "model.families.decoder:Decoder",
    "encoder": "model.families.encoder:Encoder",
    "encoder_decoder": "model.families.encoder_decoder:EncoderDecoder",
}
"""A module by the `kind` of its config."""


def build(config: Any, key: "PRNGKeyArray") -> Any:
    """The network of `config.kind` with fresh weights on the current mesh, an `nnx.Module`."""
    return pkgutil.resolve_name(NETWORKS[config.kind])(config, key)
