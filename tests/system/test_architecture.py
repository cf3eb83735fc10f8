"""The house rules that can be counted: arrows, circles, names, file sizes."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import jaxtyping
import pytest

from model.layers import sinusoidal
from tests.command import ROOT

SHARED = ("data.errors", "data.durable", "data.fields")
"""Lowest modules, which every room may import."""
ROOMS = {
    "model": ("model", *SHARED),
    "data": ("data",),
    "train": ("train", "model", "data.batch", *SHARED),
    "launch": ("launch", "train", "model", "data"),
}
"""What the files of a room may import of the others."""
FLOORS = (
    ("__main__",),
    ("cli", "api"),
    ("commands",),
    ("cluster", "ladder", "plan"),
    ("run",),
    ("pretrained",),
    ("process",),
    ("presets",),
    ("config",),
    ("schema",),
    ("exit_codes", "checkout", "page"),
)
"""Parts of `launch`, highest first: each imports only those below it, and `cluster` also `ladder`,
whose workers it starts."""
HEAVY = ("jax", "flax", "grain", "orbax", "tensorflow_datasets", "optax")
FORBIDDEN = ("utils.py", "common.py", "helpers.py", "misc.py")
LONGEST = 300


def name_of(path: Path) -> str:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return name.removesuffix(".__init__")


FILES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for room in ROOMS
    for path in sorted((ROOT / room).rglob("*.py"))
}
MODULES = {name_of(path): path for path in FILES}


def imported(tree: ast.Module) -> Iterator[str]:
    """All that a file imports, also in functions and for the type checker alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def module_of(name: str) -> str:
    """The module of this repository that an imported name is of; empty if it is of none."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


def arrows() -> dict[str, set[str]]:
    """The modules that each module imports."""
    return {
        name_of(path): {module_of(name) for name in imported(tree)} - {"", name_of(path)}
        for path, tree in FILES.items()
    }


def broken_rules(path: Path, tree: ast.Module) -> Iterator[str]:
    room = path.relative_to(ROOT).parts[0]
    for name in imported(tree):
        if within(name, tuple(ROOMS)) and not within(name, ROOMS[room]):
            yield f"imports {name}, but {room}/ only {', '.join(ROOMS[room])}"
        if room == "data" and within(name, ("jax", "flax", "optax", "orbax")):
            yield f"imports {name}, but data/ works without"
        if path.name.endswith(("config.py", "__init__.py")) and within(name, HEAVY):
            yield f"imports {name}, which would make --help slow"
    if path.name in FORBIDDEN:
        yield "is named after nothing"
    if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST:
        yield f"has {lines} lines and should be two files"


def test_every_file_keeps_the_rules() -> None:
    broken = [
        f"{path.relative_to(ROOT)} {rule}"
        for path, tree in FILES.items()
        for rule in broken_rules(path, tree)
    ]
    assert not broken, "\n".join(broken)


def test_launch_imports_downwards() -> None:
    floor = {part: number for number, parts in enumerate(FLOORS) for part in parts}
    broken = []
    for module, targets in arrows().items():
        for target in targets:
            if not (module.startswith("launch.") and target.startswith("launch.")):
                continue
            source, goal = module.split(".")[1], target.split(".")[1]
            down = floor[source] < floor[goal] or (source, goal) == ("cluster", "ladder")
            if source != goal and not down:
                broken.append(f"{module} imports {target}")
    assert not broken, "\n".join(broken)


def test_no_import_circle() -> None:
    graph = arrows()

    def reached(start: str) -> set[str]:
        modules, waiting = set[str](), [start]
        while waiting:
            new = graph[waiting.pop()] - modules
            modules |= new
            waiting += new
        return modules

    below = {module: reached(module) for module in graph}
    circles = {
        " ".join(sorted(other for other in below[module] if module in below[other]))
        for module in graph
        if module in below[module]
    }
    assert not circles


def test_class_names_are_unique() -> None:
    classes = Counter(
        name
        for folder in (*ROOMS, "tests")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"^ *class (\w+)", path.read_text(encoding="utf-8"), re.M)
    )
    assert not {name for name, count in classes.items() if count > 1}


def test_every_code_folder_is_in_the_package_list() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {name_of(path.parent) for path in FILES}
    assert folders == set(project["tool"]["setuptools"]["packages"])


def test_shapes_of_the_model_are_checked_in_tests() -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        sinusoidal(jnp.zeros((2, 3, 4), jnp.int32), 8)
