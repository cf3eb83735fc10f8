"""Cached decoding of an encoder-decoder: the source is read once, and so are its keys made."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from model.attention.attention import Cache, Keys
from model.attention.mask import Mask, TokenPlaces
from model.families.encoder_decoder import EncoderDecoder
from model.families.encoder_decoder_block import EncoderDecoderBlock, ReadSource
from model.families.encoder_decoder_config import EncoderDecoderConfig
from model.generate import slots
from model.sharding import spec


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ModelWithSource:
    """A `model.generate.CachedModel` that writes of the sources it has read, a row each."""

    model: EncoderDecoder
    keys: Keys
    """Of every layer, [L, B, S, N, H]."""
    places: TokenPlaces
    """Of the sources."""

    @property
    def config(self) -> EncoderDecoderConfig:
        return self.model.config

    def empty_keys(self, B: int, S: int) -> Keys:
        """A zeroed cache for S slots of B rows: [L, B, S, N, H] keys and values."""
        config = self.config
        shape = (config.writing_layers, B, S, config.num_heads, config.head_dim)
        layout = spec(None, "batch", None, "heads", None)

        def zeros() -> Array:
            return jnp.zeros(shape, jnp.dtype(config.dtype), out_sharding=layout)

        return Keys(zeros(), zeros())

    def decode(
        self,
        tokens: Int[Array, "B T"],
        places: TokenPlaces,
        keys: Keys,
        slots: TokenPlaces,
        start: Array,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """What is scored after tokens written at slots `start..` of the cache, and the cache after
        them; `slots` places all S slots, these tokens included."""
        model, stack = self.model, self.model.decoder
        mask = Mask(causal=True, queries=places, keys=slots)
        across = Mask(causal=False, queries=places, keys=self.places)
        bias = None
        if stack.relative is not None:
            bias = stack.relative(places.positions, slots.positions)

        def layer(x: Array, slices: tuple[EncoderDecoderBlock, Keys, Keys]) -> tuple[Array, Keys]:
            block, own, read = slices
            return block(x, mask, bias, source=ReadSource(read, across), cache=Cache(own, start))

        x = model.embed(stack, tokens, places.positions)
        x, keys = jax.lax.scan(layer, x, (stack.blocks, keys, self.keys))
        return model.output(stack.output(x)), keys

    def logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Float32 scores of every token."""
        return self.model.logits(x)


def with_source(
    model: EncoderDecoder, sources: Int[Array, "B S"], real: Bool[Array, "B S"]
) -> ModelWithSource:
    """The model with sources in view, of which `real` are not padding."""
    places = slots(real, 0)
    states = model.encode(sources, places)

    def keys_of(_: None, block: EncoderDecoderBlock) -> tuple[None, Keys]:
        assert block.cross_attention is not None
        return None, block.cross_attention.keys_of(states)

    _, keys = jax.lax.scan(keys_of, None, model.decoder.blocks)
    return ModelWithSource(model, keys, places)
