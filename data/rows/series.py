"""Rows of series with a label."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from data.arrays_config import SeriesConfig
from data.batch import SeriesRows
from data.cache import digest_of
from data.config import to_stderr
from data.errors import UserError
from data.rows.classified import ClassifiedRows, ClassPredictor, read_labelled
from data.rows.predictor import Example
from data.rows.rows import Split


def open_series(
    config: SeriesConfig, split: Split, report: Callable[[str], None] = to_stderr
) -> "LabelledSeries":
    """The rows of a split; ValueError, with its place, for an example that cannot be learnt."""
    field = config.series_field
    examples, names, digest = read_labelled(
        config, split, field, lambda e: numbers_in(config, e).tobytes(), report
    )
    return LabelledSeries(config, split, examples, names, digest, report)


def numbers_in(config: SeriesConfig, example: Example) -> np.ndarray:
    """The series of an example, float32 [T, C]; ValueError, naming its place, if it is none."""
    field = config.series_field
    try:
        series = np.array(example.values[field], np.float32, ndmin=1)
    except (TypeError, ValueError):
        series = np.zeros((0, 0, 0), np.float32)
    series = series[:, None] if series.ndim == 1 else series
    if series.ndim != 2 or not len(series) or series.shape[1] != config.channels:
        shape = list(series.shape) if series.size else type(example.values[field]).__name__
        raise UserError(
            f"field {field!r} must be a series of data.channels={config.channels} numbers at each "
            f"time, but in {example.origin} it is {shape}; try another field"
            + (f", or training with --data.channels {series.shape[1]}" * (series.ndim == 2))
        )
    if missing := int(np.sum(~np.isfinite(series))):
        raise UserError(
            f"{example.origin} must hold a number at each time, because none is made up, but lacks "
            f"{missing:,} of {series.size:,}; try leaving that example out, or filling them in"
        )
    return series


def fitted_series(
    config: SeriesConfig, examples: Sequence[Example], report: Callable[[str], None]
) -> np.ndarray:
    """All series, [n, T, C], with mean and deviation as the config says; those of another length
    are refused by name, or cut or filled and counted."""
    T = config.series_length
    series = [numbers_in(config, example) for example in examples]
    odd = [number for number, each in enumerate(series) if len(each) != T]
    if odd:
        lengths = sorted({len(each) for each in series})
        spread = f"{lengths[0]:,}" + f" to {lengths[-1]:,}" * (len(lengths) > 1)
        first = f"{examples[odd[0]].origin} of {len(series[odd[0]]):,}"
        if config.unequal == "refuse":
            raise UserError(
                f"series must have data.series_length={T:,} times, because a row is one series, but"
                f" {len(odd):,} of {len(series):,} have another length, the first in {first}, all "
                f"together {spread}; try training with --data.series-length {lengths[-1]}"
                + ", and --data.unequal fit, which cuts or fills their ends"
                * (len(lengths) > 1)
            )
        report(
            f"data: {len(odd):,} of {len(series):,} series are cut or filled to {T:,} times, the "
            f"first {first}; they have {spread}"
        )
    rows = np.zeros((len(series), T, config.channels), np.float32)
    mean, std = (np.array(each, np.float32) for each in (config.mean, config.std))
    for row, each in zip(rows, series, strict=True):
        row[: len(each)] = (each[:T] - mean) / std
    return rows


class LabelledSeries(ClassifiedRows[SeriesRows]):
    """Series of a split."""

    question = "labels of series"

    def __init__(
        self,
        config: SeriesConfig,
        split: Split,
        examples: list[Example],
        names: Sequence[str],
        digest: str,
        report: Callable[[str], None],
    ) -> None:
        digest = digest_of(
            digest, config.seed, config.shape, config.mean, config.std, config.unequal
        )
        super().__init__(config, split, examples, names, digest)
        self._series = fitted_series(config, examples, report)

    def batch(self, indices: np.ndarray) -> SeriesRows:
        """The rows of these numbers in the order; held-out rows past the end have weight 0."""
        n = len(indices)
        series, targets = np.zeros((n, *self._shape), np.float32), np.zeros(n, np.int32)
        for place, number in self.of_rows(indices):
            series[place], targets[place] = self._series[number], self.targets[number]
        return SeriesRows(series, targets, self.present(indices).astype(np.float32))


class SeriesPredictor(ClassPredictor):
    """Other series, asked for their label."""

    def __init__(self, config: SeriesConfig, names: Sequence[str]) -> None:
        super().__init__(config.series_field, names)
        self._config = config
        self._fits = False

    def batch(self, inputs: Sequence[Example], report: Callable[[str], None]) -> SeriesRows:
        def once(line: str) -> None:
            if not self._fits:
                report(f"{line}; later batches are fitted alike")
            self._fits = True

        series = fitted_series(self._config, inputs, once)
        zeros = np.zeros(len(series), np.int32)
        return SeriesRows(series, zeros, np.ones(len(series), np.float32))


def open_series_predictor(
    config: SeriesConfig, tokenizer: Any, meta: Mapping[str, Any]
) -> SeriesPredictor:
    """How the run of this config, whose checkpoint has that meta, is asked other series."""
    return SeriesPredictor(config, meta["names"])


def series_shapes(config: SeriesConfig, batch_size: int) -> SeriesRows:
    """A batch of that size in shapes and types alone."""
    series = np.broadcast_to(np.float32(0), (batch_size, *config.shape))
    numbers = np.broadcast_to(np.int32(0), (batch_size,))
    return SeriesRows(series, numbers, np.broadcast_to(np.float32(0), (batch_size,)))
