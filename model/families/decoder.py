"""The decoder: a Block, stacked by vmap and run by scan with the chosen rematerialization."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from model.attention import Attention, Cache, Context, Keys
from model.families.decoder_config import DecoderConfig
from model.layers import Embedding, Norm, PositionTable, row_positions, sinusoidal
from model.mlp import Mlp
from model.parametrization import branch_scale, embedding_scale, logit_scale, scaled
from model.sharding import spec

# Unrolling spares a CPU step the stacking of activations (1.15 x on 4 layers) for 0.4 s of
# compiling.
UNROLLED_LAYERS = 4


class Block(nnx.Module):
    """Attention and feed-forward around a residual stream, one after the other or in parallel."""

    def __init__(self, config: DecoderConfig, key: PRNGKeyArray):
        attention, mlp = jax.random.split(key)
        self.config = config
        self.attention_norm = Norm(config, in_block=True)
        self.attention = Attention(config, attention)
        self.mlp_norm = None if config.parallel_block else Norm(config, in_block=True)
        self.mlp = Mlp(config, mlp)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        context: Context,
        window: Int[Array, ""] | None = None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        share = branch_scale(self.config)
        h = self.attention_norm(x)
        y, keys = self.attention(h, context, window, cache)
        y = scaled(y, share)
        if self.mlp_norm is None:
            return x + y + scaled(self.mlp(h), share), keys
        x = x + y
        return x + scaled(self.mlp(self.mlp_norm(x)), share), keys


class Decoder(nnx.Module):
    """A decoder-only language model (Radford et al. 2018) over the current mesh.

    Parameters are float32 and are created sharded; call it under `jax.set_mesh`.
    """

    def __init__(self, config: DecoderConfig, key: PRNGKeyArray):
        embedding, positions, blocks, head = jax.random.split(key, 4)
        self.config = config
        self.embedding = Embedding(config, embedding)
        learned = config.positions == "learned"
        self.position_table = PositionTable(config, positions) if learned else None
        self.blocks = jax.vmap(lambda key: Block(config, key))(
            jax.random.split(blocks, config.num_layers)
        )
        self.final_norm = Norm(config)
        self.head = None if config.tied_embedding else Embedding(config, head)

    @property
    def output_table(self) -> nnx.Param[Array]:
        """The [V, D] matrix whose rows score the tokens; the token table itself when tied."""
        return (self.head or self.embedding).table

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        positions: Int[Array, "B T"] | None = None,
        segment_ids: Int[Array, "B T"] | None = None,
        *,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "B T D"]:
        """Final hidden states. Without positions and segments a row is one document from its
        start. Nothing in a decoder is random: it has no use for the `key` that training gives."""
        if positions is None:
            positions = row_positions(tokens)
        context = Context(positions, segment_ids)

        def layer(x: Array, block_and_window: tuple[Block, Array | None]) -> tuple[Array, None]:
            block, window = block_and_window
            return block(x, context, window)[0], None

        layer = rematerialized(layer, self.config.remat)
        x = self.embed(tokens, positions)
        shallow = self.config.num_layers <= UNROLLED_LAYERS and self.config.remat == "none"
        x, _ = jax.lax.scan(layer, x, (self.blocks, self.windows()), unroll=shallow)
        return self.output(x)

    def decode(
        self, tokens: Int[Array, "B T"], context: Context, keys: Keys, seen: Context, start: Array
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """Hidden states of tokens written at slots `start..` of the cache, and the cache after
        them.

        `keys` holds every layer's [L, B, S, K, H]; `seen` places all S slots, these tokens
        included.
        """

        def layer(
            x: Array, block_window_keys: tuple[Block, Array | None, Keys]
        ) -> tuple[Array, Keys]:
            block, window, keys = block_window_keys
            return block(x, context, window, Cache(keys, seen, start))

        x = self.embed(tokens, context.positions)
        x, keys = jax.lax.scan(layer, x, (self.blocks, self.windows(), keys))
        return self.output(x), keys

    def embed(
        self, tokens: Int[Array, "B T"], positions: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """Token vectors, with the positions added unless they are rotary, in the compute type."""
        D, dtype = self.config.embed_dim, jnp.dtype(self.config.dtype)
        x = self.embedding.lookup(tokens, dtype)
        if self.config.scale_embedding:
            x = x * jnp.asarray(embedding_scale(self.config), dtype)
        if self.position_table is not None:
            x = x + self.position_table(positions).astype(dtype)
        if self.config.positions == "sinusoidal":
            x = x + sinusoidal(positions, D).astype(dtype)
        return x

    def output(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the output table scores, in training and in decoding: the residual stream normed,
        and scaled for all logits at once."""
        return scaled(self.final_norm(x), logit_scale(self.config))

    def logits(self, x: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Float32 scores of every token; training uses `output_table` and never makes them all."""
        return jnp.einsum(
            "BTD,VD->BTV",
            x,
            self.output_table[...].astype(x.dtype),
            preferred_element_type=jnp.float32,
            out_sharding=spec("batch", "length", "vocab"),
        )

    def windows(self) -> Int[Array, "L"] | None:
        """Keys each layer sees, or None when every layer is dense."""
        config = self.config
        if config.window is None:
            return None
        banded = jnp.arange(config.num_layers) % 2 == 1
        if config.window_layers == "all":
            banded = jnp.ones_like(banded)
        # Not max_length: without learned positions, decoding may go beyond it.
        return jnp.where(banded, config.window, jnp.iinfo(jnp.int32).max)


def rematerialized(layer, policy: str):
    """`layer` with what its backward pass keeps: all (none), matmul outputs (dots), or its input
    (full).

    `offload` keeps matmul outputs in pinned host memory; a backend without it raises ValueError.
    """
    policies = jax.checkpoint_policies
    if policy == "none":
        return layer
    if policy == "dots":
        keep = policies.dots_with_no_batch_dims_saveable
    elif policy == "full":
        keep = policies.nothing_saveable
    else:
        keep = policies.offload_dot_with_no_batch_dims("device", "pinned_host")
    return functools.partial(jax.checkpoint, policy=keep, prevent_cse=False)(layer)
