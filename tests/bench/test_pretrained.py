"""The files that are measured are a checkpoint, and what one device reads of it is its share."""

import math
from pathlib import Path

import pytest

from launch.pretrained import exchange
from launch.pretrained.checkpoint import open_pretrained
from tests.bench import llama_files
from tests.bench.pretrained import Model, measure


@pytest.mark.parametrize("model", ["70b", "1b"])
def test_a_share_is_measured(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(llama_files.SIZES, model, (2, 64, 4, 2, 128, 512))
    monkeypatch.setattr(llama_files, "FILE", 100_000)
    monkeypatch.setattr(exchange, "LARGE", 4096)
    llama_files.write(tmp_path, model)
    tensors = open_pretrained(f"hf:{tmp_path}").tensors
    assert len({tensor.path for tensor in tensors.values()}) > 1
    assert tensors["lm_head.weight"].read(slice(0, 9)).any() == (model == "1b")
    measured = measure(tmp_path, {"fsdp": 2, "tensor": 2}, plain_first=model == "1b")
    assert measured["rate"] > 0
    count = sum(math.prod(tensor.shape) for tensor in tensors.values())
    # Norms are on every tensor shard.
    assert count <= measured["shard_bytes"] < count + 2000
