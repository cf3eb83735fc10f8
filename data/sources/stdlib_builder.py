"""The standard library as a TFDS builder; apart from its source, because TFDS is slow to import."""

from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from data.sources.stdlib import stdlib_files, stdlib_names


class StdlibCorpus(tfds.core.GeneratorBasedBuilder):
    """One record a file: its text and its name below the library's folder."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        features = tfds.features.FeaturesDict(
            {"text": tfds.features.Text(), "name": tfds.features.Text()}
        )
        # Records stay in the order of their names, whatever hash TFDS would shuffle them by.
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, str]]]:
        for number, names in enumerate(zip(stdlib_files(), stdlib_names(), strict=True)):
            text = Path(names[0]).read_text(encoding="utf-8")
            yield number, {"text": text, "name": names[1]}
