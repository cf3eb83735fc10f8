"""The house rules that can be counted: import arrows, file names, file sizes."""

import ast
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest

from model.layers import sinusoidal
from tests.command import ROOT

SHARED = ("data.errors", "data.durable", "data.fields")
"""Lowest modules, which every room may import."""
ALLOWED = {
    "model": ("model", *SHARED),
    "data": ("data",),
    "train": ("train", "model", "data.batch", *SHARED),
    "launch": ("launch", "train", "model", "data"),
}
HEAVY = ("jax", "flax", "grain", "orbax", "tensorflow_datasets", "optax")
FILES = [(room, path) for room in ALLOWED for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize(
    ("room", "path"), FILES, ids=lambda part: str(part).removeprefix(f"{ROOT}/")
)
def test_file_keeps_the_arrows_and_the_size(room: str, path: Path) -> None:
    names = imported(path)
    crossing = [n for n in names if within(n, tuple(ALLOWED)) and not within(n, ALLOWED[room])]
    assert not crossing, f"{room}/ imports only {ALLOWED[room]}"
    if room == "data":
        assert not [n for n in names if within(n, ("jax", "flax", "optax", "orbax"))]
    if path.name.endswith(("config.py", "__init__.py")):
        assert not [n for n in names if within(n, HEAVY)], "would make --help slow"
    assert path.name not in ("utils.py", "common.py", "helpers.py", "misc.py")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, "asks to be two files"


def test_every_code_folder_is_in_the_package_list() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {str(path.parent.relative_to(ROOT)).replace("/", ".") for _, path in FILES}
    assert folders == set(project["tool"]["setuptools"]["packages"])


def test_shapes_of_the_model_are_checked_in_tests() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        sinusoidal(jnp.zeros((2, 3, 4), jnp.int32), 8)
