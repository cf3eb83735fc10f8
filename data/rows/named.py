"""Rows of records of arrays whose labels have names."""

from collections.abc import Sequence
from typing import Any

from data.arrays_config import ArraysConfig
from data.batch import Kind
from data.rows import label_names
from data.rows.predictor import Example
from data.rows.records import RecordRows
from data.rows.rows import Split


class NamedRows(RecordRows[Kind]):
    """Records of a split. labels: their names by their numbers."""

    def __init__(
        self,
        config: ArraysConfig,
        split: Split,
        examples: list[Example],
        names: Sequence[str],
        digest: str,
    ) -> None:
        self.labels = tuple(names)
        self._shape = config.shape
        super().__init__(config, split, examples, digest)

    @property
    def outputs(self) -> int:
        return len(self.labels)

    def named_outputs(self) -> str:
        return label_names.named_outputs(self.labels)

    def check(self, model: Any) -> None:
        """Raise ValueError if a model of this config cannot be asked these rows."""
        super().check(model)
        if model.questions:
            model.require_input(self._shape)

    def meta(self) -> dict[str, Any]:
        return {**super().meta(), "names": list(self.labels)}
