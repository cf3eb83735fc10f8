"""A layer of the decoder."""

import functools

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from model.attention.attention import Attention, Cache, Keys
from model.attention.mask import Mask
from model.attention.rotary import Rotation
from model.families.decoder_config import DecoderConfig
from model.families.transformer import OFFSETS, feed_forward, norm
from model.layers import Norm, scaled
from model.weights import Declare, param


class Block(nnx.Module):
    """Attention and feed-forward around a residual stream, one after the other or in parallel; what
    each reads is normed, what it adds, or both."""

    def __init__(self, config: DecoderConfig, key: PRNGKeyArray):
        attention, mlp = jax.random.split(key)
        declare = functools.partial(param, scaling=config.scaling, in_block=True)
        self.share, self.parallel = config.scaling.branch, config.parallel_block
        before, after = config.branch_norm != "after", config.branch_norm != "before"
        self.attention_norm = norm(declare, config) if before else None
        self.attention = Attention(
            attention,
            embed_dim=config.embed_dim,
            num_heads=config.num_heads,
            num_kv_heads=config.num_kv_heads,
            head_dim=config.head_dim,
            bias=config.bias or config.qkv_bias,
            out_bias=config.bias,
            qk_norm=None
            if config.qk_norm == "none"
            else functools.partial(qk_norm, declare, config),
            matrix_std=config.matrix_std,
            out_std=config.residual_std,
            kernel=config.attention,
            declare=declare,
            query_factor=config.query_factor,
            softcap=config.attention_softcap,
        )
        self.attention_out_norm = norm(declare, config) if after else None
        self.mlp_norm = norm(declare, config) if before and not config.parallel_block else None
        self.mlp = feed_forward(
            declare, mlp, config, std=config.matrix_std, out_std=config.residual_std
        )
        self.mlp_out_norm = norm(declare, config) if after else None

    def __call__(
        self,
        x: Float[Array, "B T D"],
        mask: Mask,
        rotation: Rotation | None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        h = self.read(x)
        y, keys = self.attend(h, mask, rotation, cache)
        if self.parallel:
            return x + y + self.feed(h), keys
        x = x + y
        return x + self.feed(normed(self.mlp_norm, x)), keys

    def read(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What attention reads of the residual stream."""
        return normed(self.attention_norm, x)

    def attend(
        self,
        h: Float[Array, "B T D"],
        mask: Mask,
        rotation: Rotation | None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "B T D"], Keys]:
        """What attention adds to the residual stream, of what it reads."""
        y, keys = self.attention(h, mask, cache=cache, rotation=rotation)
        return scaled(normed(self.attention_out_norm, y), self.share), keys

    def feed(self, h: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """What the feed-forward layer adds to it."""
        return scaled(normed(self.mlp_out_norm, self.mlp(h)), self.share)


def normed(norm: Norm | None, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """x itself without a norm."""
    return x if norm is None else norm(x)


def qk_norm(declare: Declare, config: DecoderConfig, heads: int, axis: str | None) -> Norm:
    """A norm of queries or keys, of so many heads along an axis: of each, or of all together."""
    together = config.qk_norm == "all"
    return Norm(
        declare,
        (heads, config.head_dim) if together else (config.head_dim,),
        (axis, None) if together else (None,),
        centred=config.norm == "layernorm",
        bias=False,
        epsilon=config.norm_epsilon,
        offset=OFFSETS.get(config.norm, 0.0),
    )
