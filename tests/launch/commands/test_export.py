"""Pretrained weights by the command: begun from, killed, asked, and given back."""

import csv
import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.command import meshloom
from tests.launch.pretrained.test_gguf_export import few_tokens
from tests.oracles.published.models import checkpoint

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{n}" for n in range(50))]


def with_tokenizer(folder: Path) -> Path:
    fast = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.add_special_tokens(WORDS[:5])
    fast.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_tokenizer(checkpoint("bert", tmp_path_factory.mktemp("bert")))


def test_a_checkpoint_is_asked_as_a_run_is(bert: Path, tmp_path: Path) -> None:
    done = meshloom("predict", f"hf:{bert}", "--text", "word1 [MASK] word3")
    assert "weights: 27,284 parameters of" in done.stderr
    assert done.stdout.startswith("word1 ") and "'word34'" in done.stdout
    text = tmp_path / "words.jsonl"
    text.write_text("".join(f'{{"text": "word{n % 50} word{n // 50}"}}\n' for n in range(2500)))
    flags = ("--data.sources", f"jsonl:{text}", "--data.cache-dir", str(tmp_path))
    measures = meshloom("evaluate", f"hf:{bert}", *flags, "--batches", "1").stdout
    assert measures.startswith("step 0  held-out loss ")
    error = meshloom("generate", f"hf:{bert}", expect=1).stderr
    assert "must be of a model that writes text" in error


def test_a_run_begins_with_weights_and_gives_them_back(bert: Path, tmp_path: Path) -> None:
    source, run, out = tmp_path / "labels.csv", tmp_path / "run", tmp_path / "out"
    with source.open("w", newline="") as file:
        rows = [(f"word{n} word{n % 7}", f"kind {n % 3}") for n in range(45)]
        csv.writer(file).writerows([("text", "label"), *rows])
    flags = (
        f"--data.sources csv:{source} --model.head.outputs 3 --data.sequence-length 8 "
        f"--data.cache-dir {tmp_path / 'cache'} --train.steps 2 --train.batch-size 8 "
        "--no-tensorboard --data.held-out 0.2"
    ).split()
    said = meshloom(
        *("train", "tiny-labels", "--start-from", f"hf:{bert}", "--run-dir", str(run), *flags)
    ).stdout
    assert "fresh, as the checkpoint has none: task_head/b, task_head/bias" in said
    assert "left out, as the model has no use for them: cls.predictions" in said
    config = (run / "config.yaml").read_text()
    assert f"start_from: hf:{bert}\n" in config and "num_layers: 3" in config
    again = meshloom("train", "--run-dir", str(run), "--resume", "--train.steps", "3").stdout
    assert "resuming from step 2" in again and "weights:" not in again
    words = ("--run-dir", str(run), "--resume-or-start", *flags, "--train.steps", "3")
    again = meshloom("train", "tiny-labels", "--start-from", f"hf:{bert}", *words).stdout
    assert "nothing is left to train" in again
    text = meshloom("export", str(run), f"hf:{out}").stdout
    assert "bert, " in text and "step 3" in text
    fields = json.loads((out / "config.json").read_text())
    assert fields["architectures"] == ["BertForSequenceClassification"]
    assert fields["id2label"] == {"0": "kind 0", "1": "kind 1", "2": "kind 2"}
    assert (out / "tokenizer.json").read_bytes() == (bert / "tokenizer.json").read_bytes()
    card = (out / "README.md").read_text()
    assert "\npipeline_tag: text-classification\n" in card and "| begun from | hf:bert" in card
    assert re.search(r"\| data digest \| [0-9a-f]{64} \|", card)
    assert re.search(r"\| held-out accuracy \| [01]\.\d{4} \| 3 \|", card)
    ours, theirs = (
        meshloom("predict", where, "--text", "word8 word1").stdout
        for where in (str(run), f"hf:{out}")
    )
    assert ours == theirs and ours.startswith("label kind ")
    error = meshloom(
        "export", str(run), "hf:other", "--model-type", "lama", expect=1, cwd=tmp_path
    ).stderr
    assert "model_type=lama must be one of bert, convnext, dinov2" in error
    assert not (tmp_path / "other").exists()
    error = meshloom("export", str(run), f"hf:{out}", expect=1).stderr
    assert "must be a new folder, or an empty one" in error


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = checkpoint("smollm2", tmp_path_factory.mktemp("smollm2"))
    (folder / "tokenizer.json").write_text(json.dumps(few_tokens()))
    return folder


def test_a_model_writes_the_same_from_a_file_of_llama_cpp(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = meshloom("export", f"hf:{llama}", "gguf:out.gguf", "--dtype", "float16", cwd=tmp_path)
    line, file = said.stdout.splitlines()
    assert line.endswith("/out.gguf: llama, 25,440 parameters in float16, step 0")
    assert file.split() == ["out.gguf", f"{(tmp_path / 'out.gguf').stat().st_size:,}"]
    assert [path.name for path in tmp_path.iterdir()] == ["out.gguf"]
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    words = ("--prompt", "ABAC", "--tokens", "8", "--temperature", "0")
    one, other = (
        meshloom("generate", spec, *words, cwd=tmp_path).stdout
        for spec in (f"hf:{llama}", "gguf:out.gguf")
    )
    assert one == other and one.startswith("ABAC")
    error = meshloom("export", f"hf:{llama}", "out.gguf", expect=2, cwd=tmp_path).stderr
    assert "writes hf:DIRECTORY or gguf:FILE, not 'out.gguf'" in error


def test_weights_are_planned(bert: Path, tmp_path: Path) -> None:
    words = ("--start-from", f"hf:{bert.name}", "--data.sequence-length", "8")
    flags = ("--on", "v5e-1", "--json", "--out", str(tmp_path / "plan"))
    planned = json.loads(meshloom("plan", *words, *flags, cwd=bert.parent).stdout)
    assert planned["parameters"] == 27_284 and planned["config"]["model"]["embed_dim"] == 32


def test_a_preset_of_another_family_is_refused(bert: Path, tmp_path: Path) -> None:
    error = meshloom(
        *("train", "tiny", "--start-from", f"hf:{bert}", "--run-dir", str(tmp_path / "run")),
        expect=1,
    ).stderr
    assert "must be of the family decoder, because the preset tiny trains that" in error
    assert not (tmp_path / "run").exists()
