"""The decoder: a Block, stacked by vmap and run by scan."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from model.attention.attention import Attention, Cache, Keys
from model.attention.mask import Mask, TokenPlaces
from model.attention.rotary import Rotary
from model.families.decoder_config import DecoderConfig
from model.families.transformer import feed_forward, head_of, norm, require_even_cuts
from model.layers import Embedding, Norm, WholeTable, row_positions, scaled, sinusoidal
from model.sharding import axis_size, spec
from model.stack import run_layers
from model.weights import Declare, param


class Block(nnx.Module):
    """Attention and feed-forward around a residual stream, one after the other or in parallel."""

    def __init__(self, config: DecoderConfig, key: PRNGKeyArray):
        attention, mlp = jax.random.split(key)
        declare = functools.partial(param, scaling=config.scaling, in_block=True)
        self.share, self.rotary = config.scaling.branch, rotary(config)
        self.attention_norm = norm(declare, config)
        self.attention = Attention(
            attention,
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            bias=config.bias or config.qkv_bias,
            out_bias=config.bias,
            head_norm=functools.partial(head_norm, declare, config) if config.head_norm else None,
            matrix_std=config.matrix_std,
            out_std=config.residual_std,
            kernel=config.attention,
            declare=declare,
            query_factor=config.scaling.query,
        )
        self.mlp_norm = None if config.parallel_block else norm(declare, config)
        self.mlp = feed_forward(
            declare, mlp, config, std=config.matrix_std, out_std=config.residual_std
        )

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Mask,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        h = self.attention_norm(x)
        y, keys = self.attend(h, mask, cache)
        y = scaled(y, self.share)
        if self.mlp_norm is None:
            return x + y + scaled(self.mlp(h), self.share), keys
        x = x + y
        return x + scaled(self.mlp(self.mlp_norm(x)), self.share), keys

    def attend(
        self, h: Float[Array, "B T D"], mask: Mask, cache: Cache | None = None
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """The attention, of queries and keys that turn with their places if they do."""
        rates = None if self.rotary is None else self.rotary.rates()
        return self.attention(h, mask, cache=cache, rates=rates)


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
        mask = self.mask(TokenPlaces(positions, segment_ids))

        def layer(x: Array, block_and_window: tuple[Block, Array | None]) -> tuple[Array, None]:
            block, window = block_and_window
            return block(x, dataclasses.replace(mask, layer_window=window))[0], None

        x = run_layers(layer, x, (self.blocks, self.windows()), remat=self.config.remat)
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
        mask = self.mask(places, slots)

        def layer(
            x: Array, block_window_keys: tuple[Block, Array | None, Keys]
        ) -> tuple[Array, Keys]:
            block, window, keys = block_window_keys
            return block(x, dataclasses.replace(mask, layer_window=window), Cache(keys, start))

        x = self.embed(tokens, places.positions)
        x, keys = jax.lax.scan(layer, x, (self.blocks, self.windows(), keys))
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
        return jnp.einsum(
            "BTD,VD->BTV",
            x,
            self.output_table[...].astype(x.dtype),
            preferred_element_type=jnp.float32,
            out_sharding=spec("batch", "length", "vocab"),
        )

    def attention_shares(
        self, x: Float[Array, "B T D"], positions: Int[Array, "B T"], segments: Int[Array, "B T"]
    ) -> Float[Array, "L B N T T"]:
        """How much each token takes from each other, by layer and head, of embedded tokens."""
        mask, windows = self.mask(TokenPlaces(positions, segments)), self.windows()

        def layer(x: Array, block_and_window: tuple) -> tuple[Array, Array]:
            block, window = block_and_window
            own = dataclasses.replace(mask, layer_window=window)
            rates = None if block.rotary is None else block.rotary.rates()
            shares = block.attention.shares(block.attention_norm(x), own, rates)
            return block(x, own)[0], shares

        return jax.lax.scan(layer, x, (self.blocks, windows))[1]

    def activation_sizes(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"] | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
    ) -> tuple[dict[str, Float[Array, ""]], Float[Array, "B T V"]]:
        """Mean absolute activations by kind, those of layers averaged over them, and the logits."""
        if positions is None:
            positions = row_positions(tokens)
        mask = self.mask(TokenPlaces(positions, segment_ids))

        def layer(x: Array, block_and_window: tuple) -> tuple[Array, tuple[Array, Array]]:
            block, window = block_and_window
            own = dataclasses.replace(mask, layer_window=window)
            y, _ = block.attend(block.attention_norm(x), own)
            y = scaled(y, block.share)
            after, _ = block(x, own)
            return after, (mean_size(y), mean_size(after - x - y))

        first = self.embed(tokens, positions)
        x, branches = jax.lax.scan(layer, first, (self.blocks, self.windows()))
        attention, mlp = map(jnp.mean, branches)
        sizes = {"embedding": mean_size(first), "attention": attention, "feed-forward": mlp}
        return sizes | {"residual stream": mean_size(x)}, self.logits(self.output(x))

    def mask(self, queries: TokenPlaces, keys: TokenPlaces | None = None) -> Mask:
        """What tokens may see, but for the window of the layer they are in."""
        return Mask(causal=True, window=self.config.window, queries=queries, keys=keys)

    def windows(self) -> Int[Array, "L"] | None:
        """Keys each layer sees, or None when layers do not differ."""
        config = self.config
        if config.window is None or config.window_layers == "all":
            return None
        # Not max_length: without learned positions, decoding may go beyond it.
        banded = jnp.arange(config.num_layers) % 2 == 1
        return jnp.where(banded, config.window, jnp.iinfo(jnp.int32).max)


def head_norm(declare: Declare, config: DecoderConfig) -> Norm:
    """A norm of one head's channels, without a bias."""
    return Norm(
        declare,
        config.head_dim,
        centred=config.norm == "layernorm",
        bias=False,
        epsilon=config.norm_epsilon,
    )


def mean_size(x: Float[Array, "*shape"]) -> Float[Array, ""]:
    """Mean of |x|."""
    return jnp.mean(jnp.abs(x.astype(jnp.float32)))


def rotary(config: DecoderConfig) -> Rotary | None:
    """How queries and keys turn with their places, if they do."""
    if config.positions != "rotary":
        return None
    return Rotary(
        head_dim=config.head_dim,
        theta=config.rope_theta,
        scaling_factor=config.rope_scaling_factor,
    )
