"""Every command that README, CONTRIBUTING and docs/ show is run; what they link and name exists.

Commands stand in ```console blocks on lines that begin with `$ `. Those of a document run in bash,
in order, in a directory with `corpus/`, the text a reader is assumed to have. Flags that make
them small are appended, a few in place of those shown, and nothing else. `make` commands are left
to .ci/run, which must call them.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.commands.table import COMMANDS
from launch.presets.preset import PRESETS
from tests.command import ROOT, SMALL, WARM, meshloom, warm

GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
OURS = re.compile(
    r"(\w+=\S+ )*(printf|for n in|meshloom|python -c|python -m (launch|tests)[.\w]*)( |$)"
)
# Set-up and other people's machines; what they start of ours is run here, as one process.
ELSEWHERE = (
    "PYTHON openssl source pip pip-compile .venv/bin/ruff tensorboard srun docker vllm llama-server"
).split()
ALWAYS = "--train.steps --model.vocab-size --vocab-size --kills --tokens --size --rounds".split()
# One model for every page, so that each of its programs is compiled once.
TRAIN = f"--train.eval-batches 0 --model.num-layers 1 --model.vocab-size 384 {' '.join(SMALL)}"
TEXT = "sources=('text:corpus/*.txt',), held_out=0.1, sequence_length=32"
LACKING = {
    r"(tiny|modern)?-?(bert|labels|tags|answers|embedding|t5)": "--model.num-kv-heads",
    r"tiny-(lstm|gru)": "--model.(num-kv-heads|num-heads|head-dim|mlp-dim|embed-dim)",
    r"tiny-(photos|convnet|series|vit)": "--(model|data)[.]",
}
"""Flags of TRAIN that a preset has no field for, or that fit it as it is."""
SMALLER = {
    "meshloom evaluate": "--batches 2",
    "meshloom generate": "--tokens 8",
    "meshloom ladder plan": "--no-measure",
    "meshloom data tokenizer": "--data.sources text:corpus/*.txt --vocab-size 300",
    "meshloom plan": "--model.num-layers 1 --model.embed-dim 64 --model.num-heads 2 "
    "--model.num-kv-heads 2 --model.head-dim 32 --model.mlp-dim 64 --model.vocab-size 384 "
    "--data.sequence-length 128",
    "meshloom verify-resume": f"{TRAIN} --train.steps 30 --kills 2",
    "python -m tests.bench": "--parts step --rounds 1 --sizes.num-layers 1 --sizes.embed-dim 16 "
    "--sizes.mlp-dim 16 --sizes.vocab-size 64 --sizes.length 16 --sizes.batch 2",
    "python -m tests.bench.gpu": "--size tiny --steps 1 --warmup 1",
    "python -m tests.bench.ladder": "--sets 1",
    "python -m tests.bench.pretrained": "--model tiny --rounds 1",
    "python -m tests.bench.rows": "--rounds 1",
    "python -m tests.bench.store": "--tokens 300000 --rounds 1",
}


def blocks(guide: Path) -> Iterator[tuple[str, list[str]]]:
    """Language and lines of every fenced block; prose, by paragraph, has the language `prose`."""
    language, lines = "prose", []
    for line in guide.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            yield language, lines
            language = "prose" if language != "prose" else line.strip().removeprefix("```")
            lines = []
        elif language == "prose" and not line.strip():
            yield language, lines
            lines = []
        else:
            lines.append(line)
    assert language == "prose", f"{guide}: a block is not closed"
    yield language, lines


def commands(guide: Path) -> list[str]:
    """Lines after `$ ` in console blocks, without a comment; a backslash joins the next line."""
    text = "\n".join("\n".join(lines) for name, lines in blocks(guide) if name == "console")
    lines = text.replace("\\\n", " ").splitlines()
    shown = [line.strip() for line in lines]
    return [line.split("  #")[0][2:].strip() for line in shown if line.startswith("$ ")]


def spans(guide: Path) -> list[str]:
    """What stands between single backticks in prose."""
    prose = "\n\n".join("\n".join(lines) for name, lines in blocks(guide) if name == "prose")
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def ours(command: str) -> str | None:
    """The part of a command that runs here; None if there is none. Unknown commands fail."""
    if OURS.match(command):
        return command
    words = shlex.split(command)
    assert words[0] in ELSEWHERE, f"{command!r} is neither ours nor in the list of other commands"
    for number, word in enumerate(words):
        if word.split()[0] == "meshloom":
            return word if " " in word else shlex.join(words[number:])
    return None


def small(command: str, here: Path) -> str:
    """The command with flags that make it cheap; of those it gives itself, only ALWAYS win."""
    if " train" not in command:
        plain = re.sub(r"^(\w+=\S+ )+", "", command)
        begins = [start for start in SMALLER if f"{plain} ".startswith(f"{start} ")]
        flags = SMALLER[max(begins, key=len)] if begins else ""
    elif " --resume" in command:
        run = here / command.split("--run-dir ")[1].split()[0]
        done = max(int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdecimal())
        return f"{command} --train.steps {done + 4}"
    else:
        steps = 14 if " --profile" in command else 4
        flags = f"{TRAIN} --train.steps {steps}"
    lacking = [flag for preset, flag in LACKING.items() if re.search(f" train {preset}", command)]
    for flag, value in re.findall(r"(--\S+)((?: [^-\s]\S*)*)", flags):
        if any(re.match(each, flag) for each in lacking):
            continue
        if not re.search(rf"{flag}[ =]", command):
            command += f" {flag}{value}"
        elif flag in ALWAYS:
            command = re.sub(rf"{flag}[ =]\S+", f"{flag}{value}", command)
    return command


def runs_elsewhere(command: str, guide: Path) -> bool:
    """Whether another guide, which runs it, shows the same command that needs nothing before it."""
    alone = command.startswith(("meshloom verify-resume", "meshloom plan"))
    return alone and any(command in commands(later) for later in GUIDES[GUIDES.index(guide) + 1 :])


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory with a small corpus, as text files and as JSON lines, and a key."""
    (tmp_path / "key").write_text("0" * 64)
    (tmp_path / "key").chmod(0o600)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    texts = [f"Text {n} says that {n} and {n + 1} are {2 * n + 1}. " * 9 for n in range(100)]
    for number, text in enumerate(texts):
        (corpus / f"{number}.txt").write_text(text, encoding="utf-8")
    lines = "".join(json.dumps({"body": text}) + "\n" for text in texts)
    (corpus / "texts.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for PATH in which `meshloom` and `python` are this interpreter's."""
    folder = tmp_path_factory.mktemp("bin")
    for name, words in {"meshloom": WARM, "python": [sys.executable]}.items():
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_commands_run(
    guide: Path, here: Path, programs: Path, request: pytest.FixtureRequest
) -> None:
    if guide.stem == "studies":  # its cells are trained already: other tests need them too
        shutil.copytree(request.getfixturevalue("study").path, here / "studies" / "smoke")
    environment = warm() | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    for shown in commands(guide):
        command = None if shown.startswith("make ") else ours(shown)
        if command is None or runs_elsewhere(shown, guide):
            continue
        command = small(command, here)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{shown}\n{command}\n{done.stdout}\n{done.stderr}"


def test_the_code_that_the_readme_shows_is_the_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"\]\(([\w/]+\.py)\):\n\n```python\n(.*?)```", text, re.DOTALL)
    assert len(shown) == text.count("```python") == 1
    for file, code in shown:
        assert code in (ROOT / file).read_text(encoding="utf-8"), file


@pytest.mark.long
@pytest.mark.parametrize("guide", [g for g in GUIDES[1:] if "```python" in g.read_text()])
def test_programs_run(guide: Path, here: Path) -> None:
    small = (
        f"model=replace(tiny.model, num_layers=1, max_length=32), data=replace(tiny.data, {TEXT})"
    )
    for code in ("\n".join(lines) for language, lines in blocks(guide) if language == "python"):
        code = re.sub(r"steps=\d+", "steps=4", code).replace("sample=0", f"sample=0, {small}")
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=here,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"


def test_make_commands_are_run_by_ci() -> None:
    called = set(
        re.findall(
            r"^ *step (?:on_a_fresh_machine )?make (\w+)",
            (ROOT / ".ci/run").read_text(),
            re.MULTILINE,
        )
    )
    rules = dict(re.findall(r"^(\w+):(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called |= {before for target in set(called) for before in rules[target].split()}
    shown = [c for guide in GUIDES for c in commands(guide) if c.startswith("make ")]
    assert {"make train", "make test"} <= set(shown)
    for command in shown:
        targets = [word for word in shlex.split(command)[1:] if "=" not in word]
        assert set(targets) <= called, f"{command!r} is not run by .ci/run"
    named = {s.split()[1] for g in GUIDES for s in spans(g) if re.match(r"make \w+$", s)}
    assert named <= set(rules), "`make ...` in prose names a target of the Makefile"


def test_commands_stand_nowhere_else() -> None:
    prompt = re.compile(r"\s*(\$ |meshloom \w|make [a-z]+$|python -m |pip install|srun )")
    for guide in GUIDES:
        for language, lines in blocks(guide):
            assert language in ("prose", "console", "text", "yaml", "python"), (
                f"{guide.name}: {language}"
            )
            suspects = lines if language not in ("prose", "console") else []
            if language == "prose" and lines and lines[0].startswith("    "):
                suspects = lines
            strays = [line for line in suspects if prompt.match(line)]
            assert not strays, f"{guide.name}: put {strays} into a console block, after `$ `"


def test_flags_and_commands_named_in_prose_exist() -> None:
    shown = [
        *(["train", name] for name in PRESETS if name.startswith("tiny")),
        ["plan", "tiny"],
        ["evaluate"],
        *([name] for name in ("generate", "chat", "predict", "embed", "explain", "export")),
        ["presets"],
        ["launch", "local"],
    ]
    shown += [["goodput"], *(["launch", name] for name in ("slurm", "k8s", "tpu-vm"))]
    shown += [["ladder", name] for name in ("plan", "run", "fit")]
    shown += [["data", name] for name in ("prepare", "tokenizer", "show")]
    shown += [["checkpoint", name] for name in ("list", "verify", "show", "diff", "prune")]
    shown += [["ladder", name] for name in ("plan", "run", "status", "fit", "forecast")]
    helped = "".join(meshloom(*words, "--help").stdout for words in shown)
    bench = [sys.executable, "-m", "tests.bench", "--help"]
    helped += subprocess.run(bench, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--[a-z][\w.-]*", helped))
    for guide in GUIDES:
        for span in spans(guide):
            if span.startswith("meshloom "):
                command, *rest = span.split()[1:]
                assert command in {*COMMANDS, "COMMAND"}, f"{guide.name}: {span}"
                named = command == "train" and rest and not rest[0].startswith("-")
                assert not named or rest[0] in {*PRESETS, "PRESET"}, f"{guide.name}: {span}"
            if span.startswith(("meshloom ", "--")):
                unknown = (
                    set(re.findall(r"(?<!\S)--[a-z0-9.-]+(?![\w.-])", span)) - known - {"--help"}
                )
                assert not unknown, f"{guide.name}: {span}"


def test_links_and_pictures_exist() -> None:
    for page in [*GUIDES, ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith(("http://", "https://")):
                path, _, heading = target.partition("#")
                to = page.parent / path if path else page
                assert to.exists(), f"{page.name} links {target}"
                assert not heading or heading in anchors(to), f"{page.name} links {target}"


def anchors(page: Path) -> set[str]:
    """Headings as the links to them spell them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
