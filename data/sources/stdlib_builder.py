"""The standard library as a TFDS builder; apart from its source, because TFDS is slow to import."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds


class StdlibCorpus(tfds.core.GeneratorBasedBuilder):
    """One record a file: its text and its name below the library's folder."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, files: Mapping[str, str], **options: Any) -> None:
        """`files` are paths by name, in the order of the records; `options` are those of TFDS."""
        self._files = files
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {"text": tfds.features.Text(), "name": tfds.features.Text()}
        )
        # Records stay in the order of their names, whatever hash TFDS would shuffle them by.
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, str]]]:
        for number, (name, path) in enumerate(self._files.items()):
            yield number, {"text": Path(path).read_text(encoding="utf-8"), "name": name}
