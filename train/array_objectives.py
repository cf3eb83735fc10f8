"""What is asked of networks that read images and series: labels of rows, and of patches."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from data.batch import ImageRows, PatchRows, SeriesRows
from data.errors import UserError
from train.config import TrainConfig
from train.sums import Sums, keys_of, scored


def label_image(
    model: Any, batch: ImageRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of the label of each image, of a mixed one those of both labels by their shares
    (Zhang et al. 2018); outputs are the scores [B, C]."""
    x = _pooled(model, batch.images, key)
    if batch.others is None or batch.shares is None:
        return _labelled(model, x, batch.targets, batch.weights, config, key)
    own, second = (
        _labelled(model, x, targets, batch.weights * shares, config, key)
        for targets, shares in ((batch.targets, batch.shares), (batch.others, 1 - batch.shares))
    )
    return Sums(
        own.minimized + second.minimized,
        own.loss + second.loss,
        own.weight + second.weight,
        outputs=own.outputs,
    )


def label_series(
    model: Any, batch: SeriesRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of the label of each series; outputs are the scores [B, C]."""
    x = _pooled(model, batch.series, key)
    return _labelled(model, x, batch.targets, batch.weights, config, key)


def label_patches(
    model: Any, batch: PatchRows, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    """Cross entropy of the label of each patch; outputs are the numbers of the likeliest [B, P].

    Raises ValueError for a network with another number of places.
    """
    own, last = keys_of(key)
    x = model(batch.images, key=own)[:, model.prefix :]
    if (has := x.shape[1]) != (P := batch.targets.shape[1]):
        raise UserError(
            f"data.patch_size must give as many patches as the network has places, {has}, because "
            f"each has a label, but gives {P}; try --data.patch-size with the pixels of a side that"
            " one place of the network stands for"
        )
    head = model.task_head
    x = head(x, last)
    sums = scored(x, head.table[...], batch.targets, batch.weights, config, head.bias[...])
    if key is not None:
        return sums
    return sums._replace(outputs=jnp.argmax(head.logits(x), axis=-1).astype(jnp.int32))


def _pooled(model: Any, array: Any, key: PRNGKeyArray | None) -> Float[Array, "B 1 D"]:
    """What stands for each row of the array, as the head scores it."""
    own, last = keys_of(key)
    head = model.task_head
    return head(head.pool(model(array, key=own)), last)


def _labelled(
    model: Any, x: Any, targets: Any, weights: Any, config: TrainConfig, key: PRNGKeyArray | None
) -> Sums:
    head = model.task_head
    sums = scored(x, head.table[...], targets[:, None], weights[:, None], config, head.bias[...])
    return sums if key is not None else sums._replace(outputs=head.logits(x)[:, 0])
