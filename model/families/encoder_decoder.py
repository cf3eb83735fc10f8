"""The encoder-decoder: one stack reads a source, the other writes with what was read before it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from model.attention.mask import Mask, TokenPlaces
from model.attention.relative import RelativeBias
from model.dropout import dropout
from model.families.encoder_decoder_block import EncoderDecoderBlock, ReadSource
from model.families.encoder_decoder_config import EncoderDecoderConfig
from model.families.transformer import norm, require_even_cuts
from model.layers import Embedding, Norm, WholeTable, row_positions, scaled, sinusoidal
from model.sharding import spec
from model.stack import run_layers
from model.weights import param


class Stack(nnx.Module):
    """Layers of one side, with what its tokens know of their places."""

    def __init__(self, config: EncoderDecoderConfig, key: PRNGKeyArray, *, writes: bool):
        places, blocks = jax.random.split(key)
        self.remat, self.writes = config.remat, writes
        D, std = config.embed_dim, config.init_std
        self.relative = (
            RelativeBias(
                param,
                places,
                buckets=config.relative_buckets,
                largest=config.relative_distance,
                num_heads=config.num_heads,
                causal=writes,
                std=std,
            )
            if config.positions == "relative"
            else None
        )
        self.position_table = (
            WholeTable(param, places, config.max_length, D, std=std)
            if config.positions == "learned"
            else None
        )
        self.depth = config.writing_layers if writes else config.num_layers
        build = functools.partial(EncoderDecoderBlock, config, across=writes)
        self.blocks = jax.vmap(lambda key: build(key))(jax.random.split(blocks, self.depth))
        self.final_norm: Norm | None = (
            norm(param, config) if config.norm_place == "before" else None
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        places: TokenPlaces,
        key: PRNGKeyArray | None,
        source: ReadSource | None = None,
    ) -> Float[Array, "B T D"]:
        """Hidden states of embedded tokens."""
        mask = Mask(causal=self.writes, queries=places)
        # Tokens of a document stand side by side: distances in the row are those in it.
        row = jnp.arange(x.shape[1])[None]
        bias = None if self.relative is None else self.relative(row, row)
        keys = None if key is None else jax.random.split(key, self.depth)

        def layer(x: Array, slices: tuple[EncoderDecoderBlock, Any]) -> tuple[Array, None]:
            block, key = slices
            return block(x, mask, bias, key, source)[0], None

        return self.output(run_layers(layer, x, (self.blocks, keys), remat=self.remat))

    def output(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the stack gives of its residual stream."""
        return x if self.final_norm is None else self.final_norm(x)


class EncoderDecoder(nnx.Module):
    """A Transformer of two stacks (Vaswani et al. 2017) over the current mesh.

    Parameters are float32 and are created sharded; call it under `jax.set_mesh`.
    """

    def __init__(self, config: EncoderDecoderConfig, key: PRNGKeyArray):
        require_even_cuts(config, config.num_heads)
        embedding, encoder, decoder, head = jax.random.split(key, 4)
        V, D, std = config.table_rows, config.embed_dim, config.init_std
        self.config = config
        self.embedding = Embedding(param, embedding, V, D, std=std)
        self.encoder = Stack(config, encoder, writes=False)
        self.decoder = Stack(config, decoder, writes=True)
        self.head = None if config.tied_embedding else Embedding(param, head, V, D, std=std)

    @property
    def output_table(self) -> nnx.Param[Array]:
        """The [V, D] matrix whose rows score the tokens; the token table itself when tied."""
        return (self.head or self.embedding).table

    def __call__(
        self,
        sources: Int[Array, "B S"],
        tokens: Int[Array, "B T"],
        source_places: TokenPlaces | None = None,
        places: TokenPlaces | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T D"]:
        """What the output table scores after each token of the targets, which see the sources of
        their own segment. Without places a row is one pair, both from their start. `key` is that of
        dropout, None in evaluation."""
        first, second = (None, None) if key is None else jax.random.split(key)
        source_places = source_places or TokenPlaces(row_positions(sources))
        places = places or TokenPlaces(row_positions(tokens))
        source = ReadSource(
            self.encode(sources, source_places, first),
            Mask(causal=False, queries=places, keys=source_places),
        )
        own, rest = (None, None) if second is None else jax.random.split(second)
        x = self.embed(self.decoder, tokens, places.positions, own)
        return self.output(self.decoder(x, places, rest, source))

    def encode(
        self, sources: Int[Array, "B S"], places: TokenPlaces, key: PRNGKeyArray | None = None
    ) -> Float[Array, "B S D"]:
        """Hidden states of the sources."""
        own, rest = (None, None) if key is None else jax.random.split(key)
        x = self.embed(self.encoder, sources, places.positions, own)
        return self.encoder(x, places, rest)

    def embed(
        self,
        stack: Stack,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T D"]:
        """Vectors of tokens, with those of the places that a stack adds, in the compute type."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        x = self.embedding.lookup(tokens, dtype)
        if config.scale_embedding:
            x = x * jnp.asarray(config.embed_dim**0.5, dtype)
        if stack.position_table is not None:
            x = x + stack.position_table(positions).astype(dtype)
        if config.positions == "sinusoidal":
            x = x + sinusoidal(positions, config.embed_dim).astype(dtype)
        return dropout(x, config.dropout, key)

    def output(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the output table scores."""
        return scaled(x, self.config.embed_dim**-0.5 if self.config.scale_logits else 1.0)

    def logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Float32 scores of every token; training uses `output_table` and never makes them all."""
        return jnp.einsum(
            "BTD,VD->BTV",
            x,
            self.output_table[...].astype(x.dtype),
            preferred_element_type=jnp.float32,
            out_sharding=spec("batch", "length", "vocab"),
        )
