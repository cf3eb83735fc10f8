"""The network of each family. It is imported when it is built, so that `--help` stays fast."""

import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxtyping import Array, PRNGKeyArray

NETWORKS = {
    "decoder": "model.families.decoder:Decoder",
    "encoder": "model.families.encoder:Encoder",
    "encoder_decoder": "model.families.encoder_decoder:EncoderDecoder",
    "vision": "model.families.vision:VisionTransformer",
    "convnet": "model.families.convnet:Convnet",
    "recurrent": "model.families.recurrent:Recurrent",
    "recurrent_encoder_decoder": "model.families.recurrent_encoder_decoder:RecurrentEncoderDecoder",
}
"""A module by the `kind` of its config."""


def build(config: Any, key: "PRNGKeyArray") -> Any:
    """The network of `config.kind` with fresh weights on the current mesh, an `nnx.Module`."""
    return pkgutil.resolve_name(NETWORKS[config.kind])(config, key)


READERS = {
    "encoder_decoder": "model.families.encoder_decoder_writing:with_source",
    "recurrent_encoder_decoder": "model.families.recurrent_encoder_decoder:with_source",
}
"""A function (model, sources [B, S], which of them are no padding) by the `kind` of models that
write of what they have read; its result is a `model.generate.CachedModel` with the sources in
view."""


def with_source(model: Any, sources: "Array", real: "Array") -> Any:
    """The model with sources in view."""
    return pkgutil.resolve_name(READERS[model.config.kind])(model, sources, real)
