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
    tables = [w for w in weights_of(config) if w.is_table and "vocab" in w.logical]
    sizes = {w.name: w.size for w in tables if w.shape[0] == config.table_rows}
    # One of the outputs' own may be of another width than that of the tokens.
    return sizes.get("head/table", next(iter(sizes.values()), 0))


def parameter_count(config: FamilyConfig) -> int:
    """All parameters."""
    return sum(weight.size for weight in weights_of(config))


def flops_per_token(config: FamilyConfig, length: int, scored: float = 1.0) -> float:
    """Training FLOPs (forward and backward) of one token in a row of `length` tokens.

    Six for each matrix parameter a token meets (Kaplan et al. 2020; lookups left out, the output
    projection counted; of an encoder-decoder, a token is one of the source, with its share of the
    targets), and attention scores and values over the keys a query sees on average, so
    causal attention is counted once. Nothing is added for recomputation. `scored` is the share of
    places that the table of tokens scores. Where data count a row that the model cuts into more
    places, as of an image, those of all are of the row's tokens.
    """
    places, seen = config.places(length), 0.0
    for heads, head_dim, windows, causal, queries, keys in config.attentions(scored):
        mean, most = average_keys if causal else min, keys * places
        each = sum((layers * mean(most, window or most) for window, layers in windows), 0.0)
        seen += heads * head_dim * queries * each
    met = sum(w.size * config.met(w.name, scored) for w in weights_of(config) if w.is_matrix)
    return (6 * (met + scored * output_parameters(config)) + 12 * seen) * places / length


def average_keys(length: float, window: float) -> float:
    """Mean number of keys seen by the queries of a causal row, at most `window` each.

    The dense case is taken as length / 2, the field's convention.
    """
    if window >= length:
        return length / 2
    return window - window * window / (2 * length)
