"""What is asked of the model: the type of a batch chooses the loss, which is given as sums.

A kind of batch that is defined elsewhere carries its objective as the static method `objective`.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data.batch import (
    HiddenRows,
    ImageRows,
    LabelledRows,
    ManyLabelsRows,
    MaskedRows,
    ParallelRows,
    PatchRows,
    ScoredRows,
    SeriesRows,
    SourceTargetRows,
    SpanRows,
    TaggedRows,
    TokenRows,
)
from data.errors import UserError
from model.attention.mask import TokenPlaces
from model.sharding import spec
from train.array_objectives import label_image, label_patches, label_series
from train.config import TrainConfig
from train.loss import NOWHERE, hits
from train.sums import Objective, Sums, keys_of, require_plain_targets, scored, total_weight

CHOICES = 5
"""Tokens that are named for a place."""


def next_tokens(
    model: Any, batch: TokenRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of every target."""
    x = model(batch.tokens, batch.positions, batch.segment_ids, key=key)
    table, scoring = model.output_table[...], model.config.scoring
    return scored(x, table, batch.targets, batch.weights, config, scoring=scoring)


def guessed(
    model: Any,
    x: Float[Array, "B T D"],
    batch: Any,
    config: TrainConfig,
    key: PRNGKeyArray | None,
    bias: Float[Array, "V"] | None = None,
) -> Sums:
    """Cross entropy of tokens; in evaluation also how many are guessed right."""
    table, scoring = model.output_table[...], model.config.scoring
    targets, weights = batch.targets, batch.weights
    sums = scored(x, table, targets, weights, config, bias, scoring)
    if key is not None:
        return sums
    right = hits(x, table, targets, weights, config.loss_chunk, bias, scoring)
    return sums._replace(others={"accuracy": right})


def masked_tokens(
    model: Any, batch: MaskedRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """The hidden tokens, no other place being scored."""
    x = model(batch.tokens, batch.positions, batch.segment_ids, key=key)
    x = model.task_head(jnp.take_along_axis(x, batch.places[:, :, None], axis=1))
    return guessed(model, x, batch, config, key, model.task_head.bias[...])


def written_targets(
    model: Any, batch: SourceTargetRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Every target after those before it and with its source in view."""
    read = TokenPlaces(batch.source_positions, batch.source_segments)
    places = TokenPlaces(batch.positions, batch.segment_ids)
    x = model(batch.sources, batch.tokens, read, places, key=key)
    return guessed(model, x, batch, config, key)


def fill(model: Any, batch: HiddenRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Nothing to minimize; outputs are the ids and the probabilities of the `CHOICES` likeliest
    tokens of each place [B, K, CHOICES]."""
    x = model(batch.tokens, None, batch.segment_ids, key=key)
    x = model.task_head(jnp.take_along_axis(x, batch.places[:, :, None], axis=1))
    table, bias = model.output_table[...].astype(x.dtype), model.task_head.bias[...]
    logits = jnp.einsum(
        "BKD,VD->BKV",
        x,
        table,
        preferred_element_type=jnp.float32,
        out_sharding=spec("batch", None, "vocab"),
    )
    # Rows that pad the table are no tokens.
    real = jnp.arange(len(table)) < model.config.vocab_size
    logits = jnp.where(real[None, None], logits + bias[None, None], NOWHERE)
    shares = jax.nn.softmax(jax.sharding.reshard(logits, spec("batch", None, None)))
    best, ids = jax.lax.top_k(shares, CHOICES)
    zero = jnp.zeros(())
    return Sums(zero, zero, total_weight(batch), outputs=(ids, best))


def hidden(model: Any, batch: Any, key: PRNGKeyArray | None) -> Float[Array, "B T D"]:
    """Hidden states of the texts of a batch."""
    types = {} if batch.token_types is None else {"token_types": batch.token_types}
    return model(batch.tokens, None, batch.segment_ids, **types, key=key)


def pooled(model: Any, batch: Any, key: PRNGKeyArray | None) -> Float[Array, "B 1 D"]:
    """What stands for each text of a batch, as the head scores it."""
    own, head = keys_of(key)
    x = hidden(model, batch, own)
    return model.task_head(model.task_head.pool(x, batch.segment_ids), head)


def label(model: Any, batch: LabelledRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Cross entropy of the label of each text; outputs are the scores [B, C]."""
    head, x = model.task_head, pooled(model, batch, key)
    targets, weights = batch.targets[:, None], batch.weights[:, None]
    sums = scored(x, head.table[...], targets, weights, config, head.bias[...])
    return sums._replace(outputs=head.logits(x)[:, 0] if key is None else None)


def many_labels(
    model: Any, batch: ManyLabelsRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Mean over the labels of the logistic loss of each; outputs are the scores [B, C]."""
    require_plain_targets(config, "several labels")
    scores = model.task_head.logits(pooled(model, batch, key))[:, 0]
    each = jnp.mean(jnp.logaddexp(0, scores) - scores * batch.targets, axis=-1)
    loss = jnp.sum(batch.weights * each)
    return Sums(loss, loss, total_weight(batch), outputs=scores if key is None else None)


def numbers(model: Any, batch: ScoredRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Mean over the numbers of the squared error of each; outputs are the numbers [B, C]."""
    require_plain_targets(config, "numbers")
    scores = model.task_head.logits(pooled(model, batch, key))[:, 0]
    loss = jnp.sum(batch.weights * jnp.mean(jnp.square(scores - batch.targets), axis=-1))
    return Sums(loss, loss, total_weight(batch), outputs=scores if key is None else None)


def tags(model: Any, batch: TaggedRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Cross entropy of the tag of each word; outputs are the scores [B, T, C]."""
    own, last = keys_of(key)
    head = model.task_head
    x = head(hidden(model, batch, own), last)
    sums = scored(x, head.table[...], batch.targets, batch.weights, config, head.bias[...])
    return sums._replace(outputs=head.logits(x) if key is None else None)


def span(model: Any, batch: SpanRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Mean of the cross entropies, over the places of a row, of where the answer begins and ends
    (Devlin et al. 2018, section 4.2); outputs are the scores [B, T, 2]."""
    require_plain_targets(config, "answers in a context")
    own, last = keys_of(key)
    x = model.task_head(hidden(model, batch, own), last)
    scores = jnp.where(batch.places[:, :, None] > 0, model.task_head.logits(x), NOWHERE)
    right = jnp.take_along_axis(scores, batch.targets[:, None], axis=1)[:, 0]
    each = jnp.mean(jax.nn.logsumexp(scores, axis=1) - right, axis=-1)
    loss = jnp.sum(batch.weights * each)
    return Sums(loss, loss, total_weight(batch), outputs=scores if key is None else None)


def nearness(
    model: Any, batch: ParallelRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of each text's pair among the pairs of all rows of the batch, over the whole
    mesh, and of its converse (InfoNCE, van den Oord et al. 2018); outputs are the unit vectors
    [B, D] of both texts.

    Raises ValueError for micro-batches, whose texts would not see each other.
    """
    require_plain_targets(config, "embeddings")
    if config.accumulation > 1:
        raise UserError(
            f"train.accumulation={config.accumulation} must be 1 for embeddings, because each text "
            "is told from all others of its batch and micro-batches would not see each other; try "
            "a smaller --train.batch-size"
        )
    first, second = (
        unit(model, tokens, segments, own)
        for tokens, segments, own in zip(
            (batch.tokens, batch.others),
            (batch.segment_ids, batch.other_segments),
            keys_of(key),
            strict=True,
        )
    )
    temperature = model.config.head.temperature
    real = jax.sharding.reshard(batch.weights > 0, spec(None))[None]
    loss = jnp.zeros(())
    for these, those in ((first, second), (second, first)):
        scores = jnp.einsum("AD,BD->AB", these, those, out_sharding=spec("batch", None))
        scores = jnp.where(real, scores / temperature, NOWHERE)
        right = jnp.sum(these * those, axis=-1) / temperature
        loss += jnp.sum(batch.weights * (jax.nn.logsumexp(scores, axis=-1) - right)) / 2
    outputs = (first, second) if key is None else None
    return Sums(loss, loss, total_weight(batch), outputs=outputs)


def unit(
    model: Any, tokens: Int[Array, "B T"], segments: Int[Array, "B T"], key: PRNGKeyArray | None
) -> Float[Array, "B D"]:
    """The embedding of each text in float32, of length 1."""
    own, head = keys_of(key)
    x = model(tokens, None, segments, key=own)
    pooled = model.task_head(model.task_head.pool(x, segments), head)[:, 0].astype(jnp.float32)
    return pooled * jax.lax.rsqrt(jnp.sum(jnp.square(pooled), axis=-1, keepdims=True) + 1e-12)


OBJECTIVES: Mapping[type, Objective] = {
    TokenRows: next_tokens,
    MaskedRows: masked_tokens,
    HiddenRows: fill,
    LabelledRows: label,
    ManyLabelsRows: many_labels,
    ScoredRows: numbers,
    TaggedRows: tags,
    SpanRows: span,
    ParallelRows: nearness,
    SourceTargetRows: written_targets,
    ImageRows: label_image,
    PatchRows: label_patches,
    SeriesRows: label_series,
}


def objective_of(kind: type) -> Objective:
    """The objective of a kind of batch; ValueError if it has none."""
    objective = OBJECTIVES.get(kind) or getattr(kind, "objective", None)
    if objective is None:
        raise UserError(
            f"batch={kind.__name__} must have an objective, because the type of a batch says what "
            f"is learnt; try a static method `objective(model, batch, config, key)` of "
            f"{kind.__name__} that returns train.objective.Sums"
        )
    return objective
