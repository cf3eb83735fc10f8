"""Command lines with what they read and where they run: each follows from a seed and a number.

Commands and their flags are read from the program itself, so that a new one is tried as well.
"""

import functools
import random
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from launch.commands.table import COMMANDS
from tests.fuzz.child import Setting, run
from tests.fuzz.inputs import NAMES, PLACES, YAML, Origin, damage, source
from tests.fuzz.settings import strange_setting

WEIGHTS = {
    **dict.fromkeys(
        ("generate", "chat", "evaluate", "launch local", "checkpoint diff", "train", "plan"), 1
    ),
    **dict.fromkeys(("ladder report", "ladder plan", "ladder fit", "ladder forecast"), 1),
    **dict.fromkeys(("ladder transfer", "ladder coordinate"), 1),
    **dict.fromkeys(("data prepare", "data tokenizer", "data show"), 10),
}
"""How often a command is tried; 4 for those that take little time and are not here."""
BOUND = {
    *("train", "verify-resume", "launch local", "plan"),
    *("ladder run", "ladder plan", "ladder coordinate", "ladder transfer"),
}
"""Numbers that are right would make these run for long: they get none."""
GARBAGE = (
    "", " ", "x", "nan", "-", "--", "none", "None", "true", "1.5.2", "0x10", "1e", "\udcff",
    "\u00e4", "a\nb", "[1]", "{}", "'", "\\", "*", "~", "~nobody-there/x", "$HOME", "..", "/",
    "/dev/null", "/proc/self/mem", "z" * 5000, "\u0661", "1_0_", "\x1b[31m", "%d", "=", ",",
    "nan,nan",
)  # fmt: skip
NUMBERS = (
    "0", "-1", "1", "2", "3", "7", "64", "0.5", "-0.0", "1e-400", "1e400", "-inf", "inf",
    "2147483648", "4294967296", "9223372036854775808", "9" * 400, "1e3", "1_000", "+5", "00",
)  # fmt: skip
SMALL = (
    "--model.num-layers 1 --model.embed-dim 16 --model.num-heads 1 --model.num-kv-heads 1 "
    "--model.head-dim 16 --model.mlp-dim 16 --data.sequence-length 16 --train.batch-size 2 "
    "--train.steps 2 --train.optimizer.warmup-steps 0 --train.eval-batches 1 --sample 0 "
    "--no-tensorboard --data.held-out 0.3"
).split()


@dataclass(frozen=True, kw_only=True)
class FuzzCase:
    """One command line, where it runs, and what is known about its end."""

    command: str
    argv: list[str]
    setting: Setting
    source: Origin | None = None
    """What it reads, if nothing else in the command line is strange."""
    sound: bool = False
    """Nothing is strange: it must not be refused."""


class Material(NamedTuple):
    """Made once: a folder to work in, a finished run and the folder of a study in it, which are
    copied, and the names of all commands."""

    folder: Path
    run: Path
    study: Path
    commands: list[str]


def commands(folder: Path) -> list[str]:
    """Every command and subcommand, as the program names them when it is asked for another."""
    names = []
    for name in COMMANDS:
        said = run([name, "?"], folder, Setting(), 60).err
        below = re.search(r"has no command '\?'; try (.*)", said)
        names += [f"{name} {word}" for word in below[1].split(" or ")] if below else [name]
    return names


@functools.cache
def flags_of(command: str, folder: Path) -> list[tuple[str, str]]:
    """Each flag of a command with what it takes, from its help."""
    words = command.split() + (["tiny"] if command in ("train", "plan") else [])
    wide = Setting(variables={"COLUMNS": "300"})
    text = run([*words, "--help"], folder, wide, 60).out
    return re.findall(r"^│\s+(--[a-z][\w.-]*)(.*?)(?:  |│)", text, re.MULTILINE)


def case(command: str, choose: random.Random, material: Material, folder: Path) -> FuzzCase:
    """A case of the command; its files are written into the folder."""
    built = _begin(command, choose, material, folder)
    if choose.random() < 0.45:
        built = _with_flag(built, choose, material)
    if choose.random() < 0.15:
        built = _with_wrong_word(built, choose)
    if choose.random() < 0.4:
        strange = strange_setting(choose, folder)
        variables = {**built.setting.variables, **strange.variables}
        built = replace(built, setting=replace(strange, variables=variables), sound=False)
    return built


def _begin(command: str, choose: random.Random, material: Material, folder: Path) -> FuzzCase:
    quiet = Setting(variables={"PATH": "/nowhere"} if command.startswith("launch ") else {})
    words = command.split()
    cache = ["--data.cache-dir", str(folder / "cache")]
    if words[0] == "data":
        origin = source(folder, choose)
        argv = [*words, *(["new.json"] if words[1] == "tokenizer" else [])]
        argv += ["--data.sources", origin.spec, "--data.held-out", "0", *cache]
        argv += ["--data.sequence-length", "4"]
        prepare = words[1] == "prepare"
        return FuzzCase(
            command=command, argv=argv, setting=quiet, source=origin if prepare else None,
            sound=prepare and origin.sound,
        )  # fmt: skip
    if command == "train":
        origin = source(folder, choose)
        argv = [*words, "tiny", *SMALL, *cache, "--data.sources", origin.spec]
        argv += ["text:" + str(folder / "missing"), "--run-dir", _place(folder, choose)]
        if choose.random() < 0.3:
            config = _config(material.run / "config.yaml", choose, folder)
            argv = [*words, "--config", config, *argv[2:]]
        return FuzzCase(command=command, argv=argv, setting=quiet)
    if command == "verify-resume":
        return FuzzCase(
            command=command, argv=[*words, "tiny", "--model.num-layers", "-1"], setting=quiet
        )
    if words[0] == "launch":
        inner = ["presets"] if words[1] == "local" else ["train", "tiny"]
        if words[1] == "local" and choose.random() < 0.5:
            inner = ["checkpoint", "list", str(_run(choose, material, folder))]
        return FuzzCase(command=command, argv=[*words, *inner], setting=quiet)
    if words[0] == "ladder":
        return FuzzCase(
            command=command, argv=_ladder(words, choose, material, folder), setting=quiet
        )
    if command == "plan":
        argv = [*words, "tiny", "--on", "v5p-8", "--elastic"]
        if choose.random() < 0.5:
            config = _config(material.run / "config.yaml", choose, folder)
            argv = [*words, "--config", config, *argv[2:]]
        return FuzzCase(command=command, argv=argv, setting=quiet)
    where = str(_run(choose, material, folder)) if choose.random() < 0.9 else _place(folder, choose)
    argv = [*words, where] if words[0] != "presets" else words
    if command in ("generate", "chat"):
        argv += ["--tokens", "3"]
    if command == "checkpoint diff":
        argv += ["1", "2"]
    if command == "checkpoint prune":
        argv += ["--keep-latest", "1"]
    return FuzzCase(command=command, argv=argv, setting=quiet)


def _ladder(words: list[str], choose: random.Random, material: Material, folder: Path) -> list[str]:
    """Never a study that could be trained: its YAML is wrong, or it is only read."""
    study = _config(material.study / "study.yaml", choose, folder, only_wrong=True)
    if words[1] == "plan":
        return [*words, choose.choice((study, "smoke")), "--no-measure"]
    if words[1] == "run":
        return [*words, study, "--dir", _place(folder, choose)]
    if words[1] in ("transfer", "coordinate"):
        small = "tiny --layers 1 --length 8 --batch-size 1 --steps 2 --out".split()
        widths = ["--widths", "16", choose.choice(("16", "x"))]
        return [*words, *small, _place(folder, choose), *widths]
    if words[1] in ("fit", "report") and choose.random() < 0.6:
        return [*words, "--csv", _table(choose, folder)]
    copied = folder / "study"
    shutil.copytree(material.study, copied)
    _damage_below(copied, choose)
    return [*words, str(copied)]


def _table(choose: random.Random, folder: Path) -> str:
    path = folder / choose.choice(("runs.csv", "runs.jsonl", "runs"))
    lines = ["params,tokens,loss"]
    for params in (1e6, 2e6, 4e6, 8e6):
        for tokens in (1e8, 2e8, 4e8):
            lines.append(f"{params},{tokens},{1.7 + 400 / params**0.34 + 410 / tokens**0.28}")
    lines[choose.randrange(len(lines))] = choose.choice(
        (
            lines[3],
            "x,y,z",
            "1,2",
            "1,2,3,4",
            "nan,1,2",
            "0,0,0",
            "-1,1e9,2",
            '"',
            "1e999,1,1",
            "\0",
        )
    )
    path.write_text("\n".join(lines))
    if choose.random() < 0.5:
        damage(path, choose)
    return str(path)


def _config(sound: Path, choose: random.Random, folder: Path, only_wrong: bool = False) -> str:
    """A YAML file, the sound one changed or another text; or what is no such file."""
    path = folder / f"{choose.choice(NAMES)}.yaml"
    harm = choose.random()
    if harm < 0.3:
        PLACES[choose.choice(list(PLACES))](path)
    elif harm < 0.7 or only_wrong:
        path.write_bytes(choose.choice(YAML).encode(errors="surrogatepass"))
    else:
        lines = sound.read_text().splitlines()
        line = choose.randrange(len(lines))
        name = lines[line].partition(":")[0]
        lines[line] = f"{name}: {choose.choice((*GARBAGE, *YAML)).splitlines()[0:1] or ''}"
        path.write_bytes("\n".join(lines).encode(errors="surrogatepass"))
    return str(path)


def _run(choose: random.Random, material: Material, folder: Path) -> Path:
    """A copy of the finished run, most often with a file of it damaged."""
    copied = folder / "run"
    shutil.copytree(material.run, copied)
    if choose.random() < 0.85:
        _damage_below(copied, choose)
    return copied


def _damage_below(folder: Path, choose: random.Random) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    top = [path for path in files if path.parent == folder]
    damage(choose.choice(files if choose.random() < 0.5 else top), choose)


def _place(folder: Path, choose: random.Random) -> str:
    """A path where something may be, or nothing can be made."""
    path = folder / choose.choice(NAMES)
    harm = choose.choice(("new", "new", *PLACES, "below a file", "garbage"))
    if harm == "garbage":
        return choose.choice(GARBAGE)
    if harm == "below a file":
        path.write_text("x")
        return str(path / "below")
    if harm == "long name":
        return str(folder / ("n" * 300))
    if harm != "new":
        PLACES[harm](path)
    return str(path)


def _with_flag(built: FuzzCase, choose: random.Random, material: Material) -> FuzzCase:
    known = flags_of(built.command, material.folder)
    if not known:
        return built
    flag, takes = choose.choice(known)
    if re.search("run-dir|folder|out|measure", flag):
        return built  # only `_place` says where something is written, and no study is measured
    value = choose.choice(GARBAGE if built.command in BOUND else (*GARBAGE, *NUMBERS))
    choices = re.search(r"\{(.*?)\}", takes)
    if choices and choose.random() < 0.3:
        value = choose.choice(choices[1].split(","))
    words = [flag] if not takes.strip() or choose.random() < 0.05 else [flag, value]
    if built.command.startswith(("launch", "verify")):  # their flags stand before another command
        place = _after_command(built)
        argv = [*built.argv[:place], *words, *built.argv[place:]]
    else:
        argv = [*built.argv, *words]
    return replace(built, argv=argv, source=None, sound=False)


def _after_command(built: FuzzCase) -> int:
    return len(built.command.split())


def _with_wrong_word(built: FuzzCase, choose: random.Random) -> FuzzCase:
    """A word of the command line is left out, doubled, or another; never one of `train`'s, where a
    run of a usual size could begin."""
    first = _after_command(built)
    if built.command in BOUND or len(built.argv) <= first:
        return built
    argv = list(built.argv)
    place = choose.randrange(first, len(argv))
    how = choose.randrange(3)
    argv[place : place + 1] = ([], argv[place : place + 1] * 2, [choose.choice(GARBAGE)])[how]
    return replace(built, argv=argv, source=None, sound=False)
