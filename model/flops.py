"""Parameter counts and FLOPs per token from the declared weights, for MFU, plans and ladders."""

from model.families.family import FamilyConfig
from model.weights import weights_of


def embedding_parameters(config: FamilyConfig) -> int:
    """Parameters of the tables: of tokens, of outputs where they have their own, of positions."""
    return sum(weight.size for weight in weights_of(config) if weight.is_table)


def matrix_parameters(config: FamilyConfig) -> int:
    """Parameters of the matrices of all blocks."""
    return sum(weight.size for weight in weights_of(config) if weight.is_matrix)


def output_parameters(config: FamilyConfig) -> int:
    """Parameters of the table that scores the tokens, whether it is looked up too or not."""
    tables = (w for w in weights_of(config) if w.is_table and "vocab" in w.logical)
    return next((w.size for w in tables if w.shape[0] == config.table_rows), 0)


def parameter_count(config: FamilyConfig) -> int:
    """All parameters."""
    return sum(weight.size for weight in weights_of(config))


def flops_per_token(config: FamilyConfig, length: int, scored: float = 1.0) -> float:
    """Training FLOPs (forward and backward) of one token in a row of `length` tokens.

    Six for each matrix parameter a token meets (Kaplan et al. 2020; lookups left out, the output
    projection counted), and attention scores and values over the keys a query sees on average, so
    causal attention is counted once. Nothing is added for recomputation. `scored` is the share of
    places that the table of tokens scores.
    """
    heads, head_dim, windows, causal = config.attended
    seen = average_keys if causal else min
    keys = sum((layers * seen(length, window or length) for window, layers in windows), 0.0)
    matrices = matrix_parameters(config) + scored * output_parameters(config)
    return 6 * matrices + 12 * heads * head_dim * keys


def average_keys(length: int, window: int) -> float:
    """Mean number of keys seen by the queries of a causal row, at most `window` each.

    The dense case is taken as length / 2, the field's convention.
    """
    if window >= length:
        return length / 2
    return window - window * window / (2 * length)
