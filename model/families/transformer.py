"""What the modules of stacks of Transformer blocks share."""

from jaxtyping import PRNGKeyArray

from model.families.blocks_config import BlocksConfig
from model.heads import Head
from model.layers import Norm
from model.mlp import Mlp
from model.sharding import axis_size, check_divisible, next_cut
from model.weights import Declare, param

OFFSETS = {"rmsnorm_1p": 1.0}
"""What is added to a norm's scale."""
SPAN = 2
"""Scores of a place where an answer begins or ends."""


def norm(declare: Declare, config: BlocksConfig) -> Norm:
    """A norm of the residual stream."""
    return Norm(
        declare,
        (config.embed_dim,),
        centred=config.norm == "layernorm",
        bias=config.bias,
        epsilon=config.norm_epsilon,
        offset=OFFSETS.get(config.norm, 0.0),
    )


def feed_forward(
    declare: Declare, key: PRNGKeyArray, config: BlocksConfig, *, std: float, out_std: float
) -> Mlp:
    """The feed-forward layer of a block, with the standard deviations of its initial weights."""
    return Mlp(
        declare,
        key,
        config.embed_dim,
        config.mlp_dim,
        activation=config.activation,
        gated=config.gated,
        bias=config.bias,
        std=std,
        residual_std=out_std,
        gate_bias=config.gate_bias,
    )


def head_of(config: BlocksConfig, key: PRNGKeyArray, *, rate: float = 0.0, prefix: int = 0) -> Head:
    """The head of the network; `rate` is that of dropout before scoring, `prefix` are the tokens
    that means leave out."""
    asked = config.head
    language = asked.kind == "language"
    return Head(
        param,
        key,
        config.embed_dim,
        transform="norm" if language else asked.transform,
        activation=config.activation,
        norm=lambda: norm(param, config),
        bias=config.bias,
        std=config.init_std,
        outputs=SPAN if asked.kind == "span" else asked.outputs,
        vocabulary=config.table_rows if language else 0,
        pooling=asked.pooling,
        rate=0.0 if language or asked.kind == "embedding" else rate,
        prefix=prefix,
    )


def require_even_cuts(config: BlocksConfig, kv_heads: int) -> None:
    """Raise ValueError, naming the field, if the current mesh does not cut a size evenly."""
    V, D, F, N = config.table_rows, config.embed_dim, config.mlp_dim, config.num_heads
    heads = next_cut(N, "heads", kv_heads)
    check_divisible("vocabulary", V, "vocab", f"--model.vocab-multiple {axis_size('vocab')}")
    check_divisible("model.embed_dim", D, "embed", f"--model.embed-dim {next_cut(D, 'embed', 2)}")
    check_divisible("model.num_heads", N, "heads", f"--model.num-heads {heads}")
    check_divisible("model.mlp_dim", F, "mlp", f"--model.mlp-dim {next_cut(F, 'mlp')}")
