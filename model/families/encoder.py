"""The encoder: an EncoderBlock, stacked by vmap and run by scan; each token sees both sides."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from model.attention.attention import Attention
from model.attention.mask import Mask, TokenPlaces
from model.attention.rates import rotary_rates
from model.attention.rotary import Rotation
from model.dropout import dropout
from model.families.blocks_config import BlocksConfig
from model.families.encoder_config import EncoderConfig
from model.families.transformer import feed_forward, head_of, norm, require_even_cuts
from model.layers import Embedding, WholeTable, row_positions, sinusoidal
from model.stack import rematerialized, run_layers
from model.weights import param


class EncoderBlock(nnx.Module):
    """Attention and feed-forward around a residual stream, which norms follow or precede."""

    def __init__(
        self,
        config: BlocksConfig,
        key: PRNGKeyArray,
        *,
        norms_follow: bool,
        rate: float,
        first_norm: bool = True,
        layer_scale: float | None = None,
    ):
        """`rate` is that of dropout. With a `layer_scale`, what a branch adds is multiplied by a
        vector that begins with it everywhere (LayerScale, Touvron et al. 2021)."""
        attention, mlp = jax.random.split(key)
        declare = functools.partial(param, in_block=True)
        self.norms_follow, self.rate = norms_follow, rate
        self.attention_norm = norm(declare, config) if first_norm else None
        self.attention = Attention(
            attention,
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            num_kv_heads=config.num_heads,
            head_dim=config.head_dim,
            bias=config.bias,
            matrix_std=config.init_std,
            out_std=config.init_std,
            kernel=config.attention,
            declare=declare,
        )
        self.mlp_norm = norm(declare, config)
        self.mlp = feed_forward(declare, mlp, config, std=config.init_std, out_std=config.init_std)

        def scale() -> nnx.Param[Array] | None:
            if layer_scale is None:
                return None
            init = jax.nn.initializers.constant(layer_scale)
            return declare(None, (config.embed_dim,), (None,), init=init)

        self.attention_scale, self.mlp_scale = scale(), scale()

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Mask,
        rotation: Rotation | None,
        key: PRNGKeyArray | None,
    ) -> Float[Array, "B T D"]:
        first, second = (None, None) if key is None else jax.random.split(key)

        def attend(h: Array) -> Array:
            return scaled_by(self.attention_scale, self.attention(h, mask, rotation=rotation)[0])

        def feed(h: Array) -> Array:
            return scaled_by(self.mlp_scale, self.mlp(h))

        if self.norms_follow:
            assert self.attention_norm is not None
            x = self.attention_norm(x + dropout(attend(x), self.rate, first))
            return self.mlp_norm(x + dropout(feed(x), self.rate, second))
        x = x + dropout(attend(self.attended(x)), self.rate, first)
        return x + dropout(feed(self.mlp_norm(x)), self.rate, second)

    def attended(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What attention reads of the residual stream."""
        norm = None if self.norms_follow else self.attention_norm
        return x if norm is None else norm(x)


def scaled_by(scale: nnx.Param[Array] | None, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """What a branch adds, by channel, in the type of `x`; `x` itself without a scale."""
    return x if scale is None else x * scale[...].astype(x.dtype)[None, None]


class Encoder(nnx.Module):
    """A bidirectional Transformer (Devlin et al. 2018) over the current mesh.

    Parameters are float32 and are created sharded; call it under `jax.set_mesh`.
    """

    def __init__(self, config: EncoderConfig, key: PRNGKeyArray):
        require_even_cuts(config, config.num_heads)
        embedding, positions, types, first, blocks, head = jax.random.split(key, 6)
        D, std, L = config.embed_dim, config.init_std, config.num_layers
        self.config = config
        self.embedding = Embedding(param, embedding, config.table_rows, D, std=std)
        self.position_table = (
            WholeTable(param, positions, config.max_length + config.first_position, D, std=std)
            if config.positions == "learned"
            else None
        )
        self.type_table = (
            WholeTable(param, types, config.token_types, D, std=std) if config.token_types else None
        )
        self.embedding_norm = norm(param, config)
        block = functools.partial(
            EncoderBlock,
            config,
            norms_follow=config.norm_place == "after",
            rate=config.dropout,
        )
        self.first = None if config.first_norm else block(first, first_norm=False)
        self.blocks = jax.vmap(block)(jax.random.split(blocks, L if config.first_norm else L - 1))
        self.final_norm = norm(param, config) if config.norm_place == "before" else None
        self.task_head = head_of(config, head, rate=config.dropout)

    @property
    def output_table(self) -> nnx.Param[Array]:
        """The [V, D] matrix whose rows score the tokens, with the bias of the head."""
        return self.embedding.table

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
        start, without types all tokens are of type 0. `key` is that of dropout, None in
        evaluation."""
        if positions is None:
            positions = row_positions(tokens)
        first, rest = (None, None) if key is None else jax.random.split(key)
        x = self.embed(tokens, positions, token_types, first)
        return self.encode(x, positions, segment_ids, rest)

    def encode(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T D"]:
        """Final hidden states of embedded tokens."""
        config = self.config
        mask = self.mask(positions, segment_ids)
        keys = None if key is None else jax.random.split(key, config.num_layers)

        def layer(x: Array, slices: tuple[EncoderBlock, Any]) -> tuple[Array, None]:
            block, (window, rotation, key) = slices
            return block(x, dataclasses.replace(mask, layer_window=window), rotation, key), None

        each = (*self.layers(), keys)
        if self.first is not None:
            own = jax.tree.map(lambda values: values[0], each)
            x, _ = rematerialized(layer, config.remat)(x, (self.first, own))
            each = jax.tree.map(lambda values: values[1:], each)
        x = run_layers(layer, x, (self.blocks, each), remat=config.remat)
        return x if self.final_norm is None else self.final_norm(x)

    def mask(self, positions: Int[Array, "B T"], segment_ids: Int[Array, "B T"] | None) -> Mask:
        """What a token sees: all of its document."""
        queries = TokenPlaces(positions, segment_ids)
        return Mask(causal=False, window=self.config.window, queries=queries)

    def attention_shares(
        self, x: Float[Array, "B T D"], positions: Int[Array, "B T"], segments: Int[Array, "B T"]
    ) -> Float[Array, "L B N T T"]:
        """How much each token takes from each other, by layer and head, of embedded tokens."""
        mask = self.mask(positions, segments)

        def layer(x: Array, slices: tuple[EncoderBlock, Any]) -> tuple[Array, Array]:
            block, (window, rotation) = slices
            own = dataclasses.replace(mask, layer_window=window)
            shares = block.attention.shares(block.attended(x), own, rotation)
            return block(x, own, rotation, None), shares

        each, first = self.layers(), []
        if self.first is not None:
            x, shares = layer(x, (self.first, jax.tree.map(lambda values: values[0], each)))
            each, first = jax.tree.map(lambda values: values[1:], each), [shares[None]]
        return jnp.concatenate([*first, jax.lax.scan(layer, x, (self.blocks, each))[1]])

    def embed(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"],
        token_types: Int[Array, "B T"] | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T D"]:
        """Vectors of tokens, positions and types, normed, in the compute type."""
        config, dtype = self.config, jnp.dtype(self.config.dtype)
        x = self.embedding.lookup(tokens, dtype)
        if self.type_table is not None:
            types = jnp.zeros_like(tokens) if token_types is None else token_types
            x = x + self.type_table(types).astype(dtype)
        if self.position_table is not None:
            x = x + self.position_table(positions + config.first_position).astype(dtype)
        if config.positions == "sinusoidal":
            x = x + sinusoidal(positions, config.embed_dim).astype(dtype)
        return dropout(self.embedding_norm(x), config.dropout, key)

    def layers(self) -> tuple[Int[Array, "L"] | None, Rotation | None]:
        """The window of each layer, None if all see everything, and its rotation, stacked."""
        config = self.config
        wide = jnp.arange(config.num_layers) % config.global_every == 0
        windows = None
        if config.window is not None:
            windows = jnp.where(wide, jnp.iinfo(jnp.int32).max, config.window)
        else:
            wide = jnp.ones_like(wide)
        if config.positions != "rotary":
            return windows, None
        globally, locally = (
            rotary_rates(config.head_dim, theta)
            for theta in (config.rope_theta, config.local_rope_theta)
        )
        return windows, Rotation(jnp.where(wide[:, None], globally[None], locally[None]))
