"""The table of axes is what an array of a batch is cut by: it must fit the array."""

from typing import Any, NamedTuple

import numpy as np
import pytest

from data.batch import map_fields
from data.config import DataConfig


class Labels(NamedTuple):
    images: Any
    labels: Any
    weights: Any

    axes = {  # noqa: RUF012
        "images": ("batch", None, None, None),
        "labels": ("batch",),
        "weights": ("batch",),
    }


BATCH = Labels(np.zeros((4, 3, 3, 1)), np.zeros(4, int), np.ones(4))


def test_each_field_comes_with_its_own_axes_and_an_absent_field_stays_absent() -> None:
    seen = map_fields(lambda array, axes: (array.shape, axes), BATCH._replace(labels=None))
    assert seen == (((4, 3, 3, 1), ("batch", None, None, None)), None, ((4,), ("batch",)))


@pytest.mark.parametrize("axes", [("batch",), (None, None, None, None), ("batch",) * 4])
def test_axes_that_do_not_fit_are_refused(axes: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Labels, "axes", {**Labels.axes, "images": axes})
    with pytest.raises(ValueError, match=r"^Labels\.axes\['images'\]=.* must name one axis"):
        map_fields(lambda array, axes: array, BATCH)


@pytest.mark.parametrize("packing", [True, False])
def test_shapes_of_a_batch_take_no_memory(packing: bool) -> None:
    batch = DataConfig(sequence_length=2**20, packing=packing).batch_shapes(2**20)
    assert (batch.positions is not None) == (batch.segment_ids is not None) == packing
    assert all(field.strides == (0, 0) for field in batch if field is not None)
