"""An export is refused before anything is opened, and stands there whole or not at all."""

import sys
from pathlib import Path
from typing import Any

import pytest

from data.errors import UserError
from launch.run.export import export


@pytest.mark.parametrize(
    ("output", "asked", "message"),
    [
        ("hf:out", {"dtype": "q8_0"}, r"dtype=q8_0 must be one of float32, bfloat16, float16"),
        ("gguf:out", {"dtype": "int4"}, r"dtype=int4 must be one of float32, float16"),
        ("hf:out", {"model_type": "lama"}, r"model_type=lama must be one of bert, "),
        ("hf:full", {}, r"output=hf:full must be a new folder, or an empty one"),
        ("gguf:full", {}, r"output=gguf:full must be a new file"),
        ("gguf:full/a", {}, r"output=gguf:full/a must be a new file"),
        ("gguf:out", {"verify": True}, r"verify=True must come with hf:DIRECTORY"),
    ],
)
def test_refused(
    output: str, asked: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("mine")
    with pytest.raises(UserError, match=message):
        export(Path("no-run"), output, **asked)
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "a"]


def test_verification_asks_for_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match=r"torch and transformers cannot be imported; try: pip"):
        export(Path("no-run"), f"hf:{tmp_path}/out", verify=True)
    assert not list(tmp_path.iterdir())
