"""Translation: sentences of LibreOffice's help in English and German, paired by their page and
place (MPL-2.0). 5 % of the English texts by hash are held out; pages repeat themselves, so that
texts that differ in a word may be on both sides."""

import json
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path

from data.shard import is_held_out
from data.text_scores import of_texts
from launch.api import evaluate
from model.beams import Beams
from tests.results.assets import DEBIAN, unpacked
from tests.results.vocabulary import tokenizer

HELD_OUT = 0.05
SHORTEST, LONGEST = 3, 30
"""Words of a text."""
MEASURES = ("bleu", "chrf")


class Paragraphs(HTMLParser):
    """The texts of a page by the names of their places."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._place, self._tag = "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        place = dict(attrs).get("id") or ""
        if tag in ("p", "h1", "h2", "h3", "h4") and place.startswith(("par_id", "hd_id")):
            self._place, self._tag = place, tag
            self.texts[place] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == self._tag:
            self._place = self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._place:
            self.texts[self._place] += data


def pages(language: str, package: str) -> dict[tuple[str, str], str]:
    """The texts of all pages by page and place, blanks as single ones."""
    root = unpacked(package) / "usr/share/libreoffice/help" / language
    texts: dict[tuple[str, str], str] = {}
    for path in sorted(root.rglob("*.html")):
        parser = Paragraphs()
        parser.feed(path.read_text())
        for place, text in parser.texts.items():
            texts[str(path.relative_to(root)), place] = " ".join(text.split())
    return texts


def pairs() -> list[tuple[str, str]]:
    """English and German, each English text once, without those that were not translated."""
    german, english = sorted(DEBIAN)
    sources, targets = pages("en-US", english), pages("de", german)
    unique: dict[str, str] = {}
    for place, source in sources.items():
        target = targets.get(place, source)
        counts = len(source.split()), len(target.split())
        if source != target and SHORTEST <= min(counts) and max(counts) <= LONGEST:
            unique.setdefault(source, target)
    return list(unique.items())


def translation(folder: Path) -> tuple[str, ...]:
    both = pairs()
    for name, held_out in (("train", False), ("test", True)):
        lines = (
            json.dumps({"source": source, "target": target}, ensure_ascii=False) + "\n"
            for source, target in both
            if is_held_out(source.encode(), HELD_OUT) == held_out
        )
        (folder / f"{name}.jsonl").write_text("".join(lines))
    records = map(json.loads, (folder / "train.jsonl").read_text().splitlines())
    texts = (record[side] for record in records for side in ("source", "target"))
    flags = (
        f"{tokenizer(folder, texts, 4096)} --data.sources jsonl:{folder}/train.jsonl "
        f"--data.held-out-sources jsonl:{folder}/test.jsonl --data.sequence-length 128 "
        "--data.too-long cut --model.tied-embedding --model.embed-dim 256 --model.head-dim 64 "
        "--model.mlp-dim 512 --model.positions sinusoidal --model.scale-embedding "
        "--model.init-std 0.0625 --model.dropout 0.2 --train.label-smoothing 0.1 "
        "--train.batch-size 16 --train.steps 4000 --train.optimizer.learning-rate 5e-4 "
        "--train.optimizer.warmup-steps 300 --train.eval-every 500 --train.eval-batches 16"
    )
    return ("tiny-t5", *flags.split())


def translation_measures(run: Path, folder: Path) -> Mapping[str, float]:
    """Loss, and BLEU and chrF of what 4 beams find."""
    return evaluate(run, texts=MEASURES, beams=Beams(count=4), tokens=96)[1]


def translation_baseline(folder: Path) -> Mapping[str, float]:
    """The source itself."""
    records = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    sources, targets = ([record[side] for record in records] for side in ("source", "target"))
    copied = of_texts(MEASURES, sources, targets)
    return {f"the source itself, {name}": value for name, value in copied.items()}
