"""The networks: each family is a config, which imports no jax, and a module that it builds."""

from model.families.convnet_config import ConvnetConfig
from model.families.decoder_config import DecoderConfig
from model.families.encoder_config import EncoderConfig
from model.families.encoder_decoder_config import EncoderDecoderConfig
from model.families.family import FamilyConfig
from model.families.recurrent_config import RecurrentConfig, RecurrentEncoderDecoderConfig
from model.families.vision_config import VisionConfig

FAMILIES: dict[str, type[FamilyConfig]] = {
    "decoder": DecoderConfig,
    "encoder": EncoderConfig,
    "encoder_decoder": EncoderDecoderConfig,
    "vision": VisionConfig,
    "convnet": ConvnetConfig,
    "recurrent": RecurrentConfig,
    "recurrent_encoder_decoder": RecurrentEncoderDecoderConfig,
}
"""By their `kind`; a config without one, older than the first other family, is a decoder's."""
