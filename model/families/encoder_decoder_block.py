"""A layer of either stack of an encoder-decoder."""

import functools
from typing import NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from model.attention.attention import Attention, Cache, Keys
from model.attention.mask import Mask
from model.dropout import dropout
from model.families.encoder_decoder_config import EncoderDecoderConfig
from model.families.transformer import feed_forward, norm
from model.weights import param


class ReadSource(NamedTuple):
    """What a decoder's layer reads of the source."""

    states: Float[Array, "B S D"] | Keys
    """Hidden states, or the keys that the layer made of them."""
    mask: Mask


class EncoderDecoderBlock(nnx.Module):
    """Self-attention, attention to a source if it reads `across`, and feed-forward."""

    def __init__(self, config: EncoderDecoderConfig, key: PRNGKeyArray, *, across: bool):
        attention, cross, mlp = jax.random.split(key, 3)
        declare = functools.partial(param, in_block=True)
        self.norms_follow, self.rate = config.norm_place == "after", config.dropout
        attend = functools.partial(
            Attention,
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            num_kv_heads=config.num_heads,
            head_dim=config.head_dim,
            bias=config.bias,
            matrix_std=config.init_std,
            out_std=config.init_std,
            kernel=config.attention,
            declare=declare,
            query_factor=config.query_factor,
            query_std=config.init_std / config.query_factor,
        )
        self.attention_norm, self.attention = norm(declare, config), attend(attention)
        self.cross_norm = norm(declare, config) if across else None
        self.cross_attention = attend(cross) if across else None
        self.mlp_norm = norm(declare, config)
        self.mlp = feed_forward(declare, mlp, config, std=config.init_std, out_std=config.init_std)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Mask,
        bias: Float[Array, "b N T S"] | None,
        key: PRNGKeyArray | None = None,
        source: ReadSource | None = None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """The residual stream after the layer, and the keys of self-attention."""
        first, second, third = (None,) * 3 if key is None else jax.random.split(key, 3)
        read = x if self.norms_follow else self.attention_norm(x)
        y, keys = self.attention(read, mask, cache=cache, bias=bias)
        x = self.after(x, y, self.attention_norm, first)
        if source is not None:
            assert self.cross_attention is not None and self.cross_norm is not None
            read = x if self.norms_follow else self.cross_norm(x)
            y, _ = self.cross_attention(read, source.mask, source.states)
            x = self.after(x, y, self.cross_norm, second)
        y = self.mlp(x if self.norms_follow else self.mlp_norm(x))
        return self.after(x, y, self.mlp_norm, third), keys

    def after(self, x: Array, y: Array, norm: nnx.Module, key: PRNGKeyArray | None) -> Array:
        """The residual stream with what a sublayer adds."""
        x = x + dropout(y, self.rate, key)
        return norm(x) if self.norms_follow else x
