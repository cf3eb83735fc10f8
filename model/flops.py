"""Parameter counts and FLOPs per token from the config alone, for MFU, plans and ladders."""

from model.families.decoder_config import DecoderConfig


def embedding_parameters(config: DecoderConfig) -> int:
    """Parameters of the token table, a separate output table, and learned positions."""
    V, D = config.padded_vocab_size, config.embed_dim
    tables = 1 if config.tied_embedding else 2
    positions = config.max_length if config.positions == "learned" else 0
    return (tables * V + positions) * D


def matrix_parameters(config: DecoderConfig) -> int:
    """Parameters of the matrices of all blocks."""
    D, F, H = config.embed_dim, config.mlp_dim, config.head_dim
    attention = 2 * D * H * (config.num_heads + config.num_kv_heads)
    return config.num_layers * (attention + (3 if config.gated else 2) * D * F)


def parameter_count(config: DecoderConfig) -> int:
    """All parameters; equals the sum over the leaves of the model's shapes."""
    D, F, H = config.embed_dim, config.mlp_dim, config.head_dim
    norm = D * (2 if config.norm == "layernorm" and config.bias else 1)
    norms = (1 if config.parallel_block else 2) * config.num_layers + 1
    biases = 0
    if config.bias:
        biases = H * (config.num_heads + 2 * config.num_kv_heads) + D + F + D
    return (
        embedding_parameters(config)
        + matrix_parameters(config)
        + norms * norm
        + config.num_layers * biases
    )


def flops_per_token(config: DecoderConfig, length: int) -> float:
    """Training FLOPs (forward and backward) of one token in a row of `length` tokens.

    Six for each matrix parameter a token meets (Kaplan et al. 2020; lookups left out, the output
    projection counted), and attention scores and values over the keys a causal query sees on
    average, so causal attention is counted once. Nothing is added for recomputation.
    """
    matrices = matrix_parameters(config) + config.padded_vocab_size * config.embed_dim
    dense = average_keys(length, length)
    keys = config.num_layers * dense
    if config.window is not None:
        banded = (
            config.num_layers // 2 if config.window_layers == "alternate" else config.num_layers
        )
        keys += banded * (average_keys(length, config.window) - dense)
    return 6 * matrices + 12 * config.num_heads * config.head_dim * keys


def average_keys(length: int, window: int) -> float:
    """Mean number of keys seen by the queries of a causal row, at most `window` each.

    The dense case is taken as length / 2, the field's convention.
    """
    if window >= length:
        return length / 2
    return window - window * window / (2 * length)
