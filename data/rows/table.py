"""What opens each kind of rows. It is imported when it is used, so that `--help` stays fast."""

import pkgutil
from collections.abc import Callable
from typing import Any

OPENERS = {
    "tokens": "data.rows.tokens:open_windows",
    "masked": "data.rows.masked:open_masked",
    "labels": "data.rows.labelled:open_labelled",
    "tags": "data.rows.tagged:open_tagged",
    "span": "data.rows.answers:open_answers",
    "embedding": "data.rows.pairs:open_pairs",
    "targets": "data.rows.targets:open_targets",
    "spans": "data.rows.spans:open_spans",
    "images": "data.rows.images:open_images",
    "patches": "data.rows.patches:open_patches",
    "series": "data.rows.series:open_series",
}
"""A function (config, split, report) by the kind of rows that it opens."""


def open_rows(kind: str, config: Any, split: str, report: Callable[[str], None]) -> Any:
    """The rows of that kind which `config` describes; `report` is given lines about the work."""
    return pkgutil.resolve_name(OPENERS[kind])(config, split, report)


SHAPES = {
    "masked": "data.rows.masked:masked_shapes",
    "labels": "data.rows.labelled:labelled_shapes",
    "tags": "data.rows.tagged:tagged_shapes",
    "span": "data.rows.answers:answer_shapes",
    "embedding": "data.rows.pairs:pair_shapes",
    "targets": "data.rows.targets:target_shapes",
    "spans": "data.rows.targets:target_shapes",
    "images": "data.rows.images:image_shapes",
    "patches": "data.rows.patches:patch_shapes",
    "series": "data.rows.series:series_shapes",
}
"""A function (config, rows of a batch) that gives a batch without memory of its own."""


def batch_shapes(kind: str, config: Any, batch_size: int) -> Any:
    """A batch of that kind of rows, in shapes and types alone."""
    return pkgutil.resolve_name(SHAPES[kind])(config, batch_size)


PREDICTORS = {
    "masked": "data.rows.filled:open_fill_predictor",
    "labels": "data.rows.labelled:open_label_predictor",
    "tags": "data.rows.tagged:open_tag_predictor",
    "span": "data.rows.answers:open_answer_predictor",
    "embedding": "data.rows.pairs:open_pair_predictor",
    "images": "data.rows.images:open_image_predictor",
    "patches": "data.rows.patches:open_patch_predictor",
    "series": "data.rows.series:open_series_predictor",
}
"""A function (config, tokenizer, meta of a checkpoint) that gives a
`data.rows.predictor.Predictor`."""


def open_predictor(kind: str, config: Any, tokenizer: Any, meta: Any) -> Any:
    """How a model that was trained on that kind of rows is asked other texts."""
    return pkgutil.resolve_name(PREDICTORS[kind])(config, tokenizer, meta)
