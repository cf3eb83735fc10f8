"""What is asked of the model: the type of a batch chooses the loss, which is given as sums.

A kind of batch that is defined elsewhere carries its objective as the static method `objective`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from data.batch import (
    Batch,
    HiddenRows,
    LabelledRows,
    ManyLabelsRows,
    MaskedRows,
    ParallelRows,
    ScoredRows,
    SourceTargetRows,
    SpanRows,
    TaggedRows,
    TokenRows,
)
from data.errors import UserError
from model.attention.mask import TokenPlaces
from model.sharding import spec
from train.config import TrainConfig
from train.loss import NOWHERE, cross_entropy, hits

CHOICES = 5
"""Tokens that are named for a place."""


class Sums(NamedTuple):
    """Sums over the targets of a batch, each times its weight: of several batches they add up, and
    their ratios are the same for any mesh and any number of micro-batches."""

    minimized: Float[Array, ""]
    """What training makes small."""
    loss: Float[Array, ""]
    """What is reported as the loss; without what else is minimized, such as z-loss."""
    weight: Float[Array, ""]
    """`total_weight` of the batch, by which the others are divided."""
    others: Mapping[str, Float[Array, ""]] = {}
    """More for `train.measures`, by name."""
    outputs: Any = None
    """In evaluation, what the model says of each row, for `Rows.score`: arrays cut as the batch."""


class Objective(Protocol):
    """Asks the model a batch: `key` is that of the step and micro-batch, None in evaluation, and
    the sums are linear in `batch.weights`, which training divides by their total beforehand."""

    def __call__(
        self, model: Any, batch: Any, config: TrainConfig, key: PRNGKeyArray | None
    ) -> Sums: ...


def total_weight(batch: Batch) -> Float[Array, ""]:
    """What sums over a batch are divided by to make means."""
    return jnp.sum(batch.weights)


def next_tokens(
    model: Any, batch: TokenRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of every target, with z-loss minimized as well."""
    x = model(batch.tokens, batch.positions, batch.segment_ids, key=key)
    table = model.output_table[...]
    # `custom_vjp` hides its type.
    sums: Any = cross_entropy(
        x,
        table,
        batch.targets,
        batch.weights,
        config.z_loss,
        config.loss_chunk,
        None,
        model.config.scoring,
    )
    nll, minimized = sums
    return Sums(minimized, nll, total_weight(batch))


def masked_tokens(
    model: Any, batch: MaskedRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of the hidden tokens, no other place being scored; in evaluation also how many
    are guessed right."""
    x = model(batch.tokens, batch.positions, batch.segment_ids, key=key)
    x = model.task_head(jnp.take_along_axis(x, batch.places[:, :, None], axis=1))
    table, bias = model.output_table[...], model.task_head.bias[...]
    targets, weights, chunk = batch.targets, batch.weights, config.loss_chunk
    scoring = model.config.scoring
    sums: Any = cross_entropy(x, table, targets, weights, config.z_loss, chunk, bias, scoring)
    others = {}
    if key is None:
        others["accuracy"] = hits(x, table, targets, weights, chunk, bias, scoring)
    return Sums(sums[1], sums[0], total_weight(batch), others)


def written_targets(
    model: Any, batch: SourceTargetRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of every target after those before it and with its source in view; in
    evaluation also how many are guessed right."""
    read = TokenPlaces(batch.source_positions, batch.source_segments)
    places = TokenPlaces(batch.positions, batch.segment_ids)
    x, table = model(batch.sources, batch.tokens, read, places, key=key), model.output_table[...]
    targets, weights, chunk = batch.targets, batch.weights, config.loss_chunk
    scoring = model.config.scoring
    sums: Any = cross_entropy(x, table, targets, weights, config.z_loss, chunk, None, scoring)
    others = {}
    if key is None:
        others["accuracy"] = hits(x, table, targets, weights, chunk, None, scoring)
    return Sums(sums[1], sums[0], total_weight(batch), others)


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


def keys_of(key: PRNGKeyArray | None) -> tuple[PRNGKeyArray | None, PRNGKeyArray | None]:
    """A key for the model and one for its head."""
    return (None, None) if key is None else tuple(jax.random.split(key))


def pooled(model: Any, batch: Any, key: PRNGKeyArray | None) -> Float[Array, "B 1 D"]:
    """What stands for each text of a batch, as the head scores it."""
    own, head = keys_of(key)
    x = hidden(model, batch, own)
    return model.task_head(model.task_head.pool(x, batch.segment_ids), head)


def label(model: Any, batch: LabelledRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Cross entropy of the label of each text; outputs are the scores [B, C]."""
    head, x = model.task_head, pooled(model, batch, key)
    targets, weights = batch.targets[:, None], batch.weights[:, None]
    sums: Any = cross_entropy(
        x, head.table[...], targets, weights, config.z_loss, config.loss_chunk, head.bias[...]
    )
    outputs = head.logits(x)[:, 0] if key is None else None
    return Sums(sums[1], sums[0], total_weight(batch), outputs=outputs)


def many_labels(
    model: Any, batch: ManyLabelsRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Mean over the labels of the logistic loss of each; outputs are the scores [B, C]."""
    scores = model.task_head.logits(pooled(model, batch, key))[:, 0]
    each = jnp.mean(jnp.logaddexp(0, scores) - scores * batch.targets, axis=-1)
    loss = jnp.sum(batch.weights * each)
    return Sums(loss, loss, total_weight(batch), outputs=scores if key is None else None)


def numbers(model: Any, batch: ScoredRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Mean over the numbers of the squared error of each; outputs are the numbers [B, C]."""
    scores = model.task_head.logits(pooled(model, batch, key))[:, 0]
    loss = jnp.sum(batch.weights * jnp.mean(jnp.square(scores - batch.targets), axis=-1))
    return Sums(loss, loss, total_weight(batch), outputs=scores if key is None else None)


def tags(model: Any, batch: TaggedRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Cross entropy of the tag of each word; outputs are the scores [B, T, C]."""
    own, last = keys_of(key)
    head = model.task_head
    x = head(hidden(model, batch, own), last)
    sums: Any = cross_entropy(
        x,
        head.table[...],
        batch.targets,
        batch.weights,
        config.z_loss,
        config.loss_chunk,
        head.bias[...],
    )
    outputs = head.logits(x) if key is None else None
    return Sums(sums[1], sums[0], total_weight(batch), outputs=outputs)


def span(model: Any, batch: SpanRows, config: TrainConfig, key: PRNGKeyArray | None) -> Sums:
    """Mean of the cross entropies, over the places of a row, of where the answer begins and ends
    (Devlin et al. 2018, section 4.2); outputs are the scores [B, T, 2]."""
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
