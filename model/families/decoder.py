"""The decoder: a Block, stacked by vmap and run by scan."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from model.attention.attention import Cache, Keys
from model.attention.mask import Mask, TokenPlaces
from model.families.decoder_block import Block
from model.families.decoder_config import DecoderConfig
from model.families.decoder_layers import Differing, Layers, layers_of
from model.families.transformer import head_of, norm, require_even_cuts
from model.layers import Embedding, WholeTable, row_positions, scaled, sinusoidal, softcapped
from model.sharding import axis_size, spec
from model.stack import run_layers
from model.weights import param


class Decoder(nnx.Module):
    """A decoder-only language model (Radford et al. 2018) over the current mesh.

    Parameters are float32 and are created sharded; call it under `jax.set_mesh`.
    """

    def __init__(self, config: DecoderConfig, key: PRNGKeyArray):
        require_even_cuts(config, config.num_kv_heads)
        embedding, positions, blocks, head = jax.random.split(key, 4)
        V, D, std = config.table_rows, config.embed_dim, config.init_std
        declare = functools.partial(param, scaling=config.scaling)
        self.config = config
        self.embedding = Embedding(declare, embedding, V, D, std=std)
        self.position_table = (
            WholeTable(declare, positions, config.max_length, D, std=std)
            if config.positions == "learned"
            else None
        )
        self.blocks = jax.vmap(lambda key: Block(config, key))(
            jax.random.split(blocks, config.num_layers)
        )
        self.final_norm = norm(declare, config)
        language = config.head.kind == "language"
        own_table = language and not config.tied_embedding
        self.head = Embedding(declare, head, V, D, std=std) if own_table else None
        self.task_head = None if language else head_of(config, head)

    @property
    def output_table(self) -> nnx.Param[Array]:
        """The [V, D] matrix whose rows score the tokens; the token table itself when tied."""
        return (self.head or self.embedding).table

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"] | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
        token_types: Int[Array, "B T"] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T D"]:
        """Final hidden states. Without positions and segments a row is one document from its
        start. Nothing in a decoder is random and none of its tokens has a type: it has no use for
        the types of pairs and for the `key` that training gives."""
        if positions is None:
            positions = row_positions(tokens)
        return self.encode(self.embed(tokens, positions), positions, segment_ids)

    def encode(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Final hidden states of embedded tokens."""
        layers = self.layers(TokenPlaces(positions, segment_ids))

        def layer(x: Array, slices: tuple[Block, Differing]) -> tuple[Array, None]:
            block, differing = slices
            return block(x, *layers.at(differing))[0], None

        x = run_layers(layer, x, (self.blocks, layers.differing), remat=self.config.remat)
        return self.output(x)

    def decode(
        self,
        tokens: Int[Array, "B T"],
        places: TokenPlaces,
        keys: Keys,
        slots: TokenPlaces,
        start: Array,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """Hidden states of tokens written at slots `start..` of the cache, and the cache after
        them.

        `keys` holds every layer's [L, B, S, K, H]; `slots` places all S slots, these tokens
        included.
        """
        layers = self.layers(places, slots)

        def layer(x: Array, slices: tuple[Block, Differing, Keys]) -> tuple[Array, Keys]:
            block, differing, keys = slices
            return block(x, *layers.at(differing), Cache(keys, start))

        x = self.embed(tokens, places.positions)
        x, keys = jax.lax.scan(layer, x, (self.blocks, layers.differing, keys))
        return self.output(x), keys

    def empty_keys(self, B: int, S: int) -> Keys:
        """A zeroed cache for S slots of B rows: [L, B, S, K, H] keys and values."""
        config = self.config
        K = config.num_kv_heads
        heads = "kv_heads" if K % axis_size("kv_heads") == 0 else None
        shape = (config.num_layers, B, S, K, config.head_dim)
        layout = spec(None, "batch", None, heads, None)

        def zeros() -> Array:
            return jnp.zeros(shape, jnp.dtype(config.dtype), out_sharding=layout)

        return Keys(zeros(), zeros())

    def embed(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """Token vectors, with the positions added unless they are rotary, in the compute type."""
        D, dtype = self.config.embed_dim, jnp.dtype(self.config.dtype)
        x = self.embedding.lookup(tokens, dtype)
        if self.config.scale_embedding:
            x = x * jnp.asarray(self.config.embedding_scale, dtype)
        if self.position_table is not None:
            x = x + self.position_table(positions).astype(dtype)
        if self.config.positions == "sinusoidal":
            x = x + sinusoidal(positions, D).astype(dtype)
        return x

    def output(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the output table scores, in training and in decoding: the residual stream normed,
        and scaled for all logits at once."""
        return scaled(self.final_norm(x), self.config.scaling.logit)

    def logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Float32 scores of every token; training uses `output_table` and never makes them all."""
        scores = jnp.einsum(
            "BTD,VD->BTV",
            x,
            self.output_table[...].astype(x.dtype),
            preferred_element_type=jnp.float32,
            out_sharding=spec("batch", "length", "vocab"),
        )
        return softcapped(scores, self.config.logit_softcap)

    def attention_shares(
        self, x: Float[Array, "B T D"], positions: Int[Array, "B T"], segments: Int[Array, "B T"]
    ) -> Float[Array, "L B N T T"]:
        """How much each token takes from each other, by layer and head, of embedded tokens."""
        layers = self.layers(TokenPlaces(positions, segments))

        def layer(x: Array, slices: tuple[Block, Differing]) -> tuple[Array, Array]:
            block, differing = slices
            seen = layers.at(differing)
            return block(x, *seen)[0], block.attention.shares(block.read(x), *seen)

        return jax.lax.scan(layer, x, (self.blocks, layers.differing))[1]

    def activation_sizes(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"] | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
    ) -> tuple[dict[str, Float[Array, ""]], Float[Array, "B T V"]]:
        """Mean absolute activations by kind, those of layers averaged over them, and the logits."""
        if positions is None:
            positions = row_positions(tokens)
        layers = self.layers(TokenPlaces(positions, segment_ids))

        def layer(x: Array, slices: tuple[Block, Differing]) -> tuple[Array, tuple[Array, Array]]:
            block, differing = slices
            seen = layers.at(differing)
            y, _ = block.attend(block.read(x), *seen)
            after, _ = block(x, *seen)
            return after, (mean_size(y), mean_size(after - x - y))

        first = self.embed(tokens, positions)
        x, branches = jax.lax.scan(layer, first, (self.blocks, layers.differing))
        attention, mlp = map(jnp.mean, branches)
        sizes = {"embedding": mean_size(first), "attention": attention, "feed-forward": mlp}
        return sizes | {"residual stream": mean_size(x)}, self.logits(self.output(x))

    def layers(self, queries: TokenPlaces, keys: TokenPlaces | None = None) -> Layers:
        """What the attention of each layer sees, and how its queries and keys turn."""
        mask = Mask(causal=True, window=self.config.window, queries=queries, keys=keys)
        return layers_of(self.config, mask)


def mean_size(x: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Mean of |x|."""
    return jnp.mean(jnp.abs(x.astype(jnp.float32)))
