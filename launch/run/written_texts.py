"""What an encoder-decoder of a run writes of many sources, and how near the right texts that is."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from data.rows.predictor import Example
from data.rows.targets import fitted_side
from data.text_scores import of_texts, require_measures
from launch.run.generate import more_ends
from launch.run.saved import Saved
from launch.run.source_writer import SourceWriter
from model.beams import Beams
from model.families.table import READERS


def writes_of_sources(saved: Saved) -> bool:
    """Whether the run's model writes of sources, and its data have them."""
    return saved.config.model.kind in READERS and hasattr(saved.config.data, "source_field")


def source_writer(saved: Saved, *, beams: Beams | None, tokens: int | None) -> SourceWriter:
    """A writer of the run's model, which holds as many tokens at once as a training step reads."""
    config: Any = saved.config
    assert saved.tokenizer is not None
    return SourceWriter(
        saved.state.evaluated,
        saved.tokenizer,
        new=tokens or config.data.written_length,
        beams=beams,
        tokens_at_once=config.train.batch_size * config.data.sequence_length,
        ends=more_ends(saved),
    )


def source_ids(
    saved: Saved, inputs: Sequence[Example], report: Callable[[str], None]
) -> list[np.ndarray]:
    """The tokens of the sources of these inputs; ValueError names one that cannot be read."""
    data: Any = saved.config.data
    assert saved.tokenizer is not None
    length = data.sequence_length
    return fitted_side(
        data, saved.tokenizer, inputs, data.source_field, "sequence_length", length, report
    )


def require_written(run: Path, saved: Saved, names: Sequence[str]) -> None:
    """Raise ValueError if the run writes nothing of sources, or a measure lacks its package."""
    if not writes_of_sources(saved):
        raise UserError(
            f"measures={' '.join(names)} must be of an encoder-decoder and records of sources and "
            "targets, because they compare what is written of a source with the right text, but "
            f"the model of {run} is {saved.config.model.kind} and its data are "
            f"{type(saved.config.data).__name__}; try without --measures"
        )
    require_measures(names)


def require_unwritten(beams: Beams | None, tokens: int | None) -> None:
    """Raise ValueError if one of these options of writing is there where nothing is written."""
    for name, value in (("beams", beams and beams.count), ("tokens", tokens)):
        if value is not None:
            raise UserError(
                f"{name}={value} must come with measures of texts, because without them nothing is "
                f"written; try --measures exact, or without --{name}"
            )


def of_written(
    saved: Saved,
    rows: Any,
    names: Sequence[str],
    count: int | None,
    *,
    beams: Beams | None,
    tokens: int | None,
) -> dict[str, float]:
    """The measures of these names of what is written of the sources of the first `count` held-out
    `data.rows.targets.TargetRows`, None for all."""
    most = rows.num_rows if count is None else min(count, rows.num_rows)
    pairs = rows.pairs(np.arange(most))
    written = source_writer(saved, beams=beams, tokens=tokens).write([ids for ids, _ in pairs])
    measures = of_texts(names, written, [text for _, text in pairs])
    return {f"eval_{name}": value for name, value in measures.items()}
