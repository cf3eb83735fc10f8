"""Try unforeseen command lines: files, flags, paths and surroundings drawn by a seed.

    python -m tests.fuzz --inputs 3000 --seed 0

Each must end by itself with a code that means done, refused or wrong usage, say why in words, and
read all of what it accepts. One that did not is printed as SEED:NUMBER; `--only` runs it again, and
`failed_once.txt` keeps those that must hold from then on.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads of its own would be missed after a fork

from tests.fuzz.cases import SMALL, WEIGHTS, FuzzCase, Material, case, commands  # noqa: E402
from tests.fuzz.child import Ending, Setting, run  # noqa: E402

CODES = {0, 1, 2, 130, 141}
PATIENCE = 60  # seconds
KEPT = HERE / "failed_once.txt"


def fault(built: FuzzCase, end: Ending) -> str | None:
    """What is wrong with how a case ended; None if nothing is."""
    said = end.out + end.err
    if end.code == -9:
        return "it hangs"
    if end.code not in CODES:
        return f"exit {end.code}"
    if "Traceback (most recent call last)" in said or "Exception ignored" in said:
        return f"a traceback with exit {end.code}"
    if end.code in (1, 2) and not said.strip():
        return "refused without a word"
    if built.sound and end.code:
        return "refused though sound"
    if built.source is not None and end.code == 0:
        wanted = built.source.documents
        if f"ready to train on: {wanted:,} document" not in said and built.setting.stdout == "pipe":
            return f"not all of {wanted} documents"
    if built.source is not None and end.code == 1 and built.setting == Setting():
        if built.source.mark not in end.err:
            return "refused without naming the file"
    return None


def prepare(folder: Path) -> Material:
    """A trained run, a study that waits, and the flags of all commands."""
    text = folder / "text.jsonl"
    text.write_text("".join(f'{{"text": "document {i} and its words"}}\n' for i in range(90)))
    words = [
        "train",
        "tiny",
        *SMALL,
        "--run-dir",
        str(folder / "run"),
        "--train.checkpoint.every-steps",
        "1",
    ]
    words += ["--data.sources", f"jsonl:{text}", "--data.cache-dir", str(folder / "cache")]
    end = run(words, folder, Setting(), 300)
    assert end.code == 0, end
    from launch.ladder.directory import make_study
    from launch.ladder.studies import load_study

    make_study(folder / "study", load_study("smoke"))
    return Material(folder, folder / "run", folder / "study", commands(folder))


def warm() -> None:
    """Import what commands import, once for all the processes that are forked from this one."""
    import grain  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import optax  # noqa: F401
    import orbax.checkpoint  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import tyro  # noqa: F401

    import launch.commands.ladder
    import launch.run.train  # noqa: F401


def attempt(
    seed: int, number: int, material: Material, loud: bool = False
) -> tuple[str, int, str, float]:
    """Run one case; the command, its exit code, what is wrong with it, and its seconds."""
    choose = random.Random(f"{seed}:{number}")
    weights = [WEIGHTS.get(command, 4) for command in material.commands]
    command = choose.choices(material.commands, weights)[0]
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    folder.chmod(0o777)
    try:
        built = case(command, choose, material, folder)
        began = time.monotonic()
        end = run(built.argv, folder, built.setting, PATIENCE)
        seconds = time.monotonic() - began
        wrong = fault(built, end)
        if wrong or loud:
            said = (
                f"{seed}:{number}: {wrong}\n  {built.argv!a}\n  {built.setting}\n  {built.source}"
            )
            last = "\n".join((end.out + end.err).splitlines()[-(60 if loud else 12) :])
            print(f"{said}\n{last if loud else ascii(last)}\n", flush=True)
        return command, end.code, wrong or "", seconds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def share(numbers: list[tuple[int, int]], material: Material, answers: Path) -> None:
    """The cases of one worker."""
    with answers.open("w") as file:
        for seed, number in numbers:
            command, code, wrong, seconds = attempt(seed, number, material)
            words = (command, wrong, f"{seconds:.2f}", f"{seed}:{number}", str(code))
            print("\t".join(words), file=file, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=3000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", default="", help="SEED:NUMBER")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.environ["HOME"] = name
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
        warm()
        print(f"imported after {time.monotonic() - began:.0f} s", flush=True)
        material = prepare(folder)
        if options.only:
            seed, number = map(int, options.only.split(":"))
            return bool(attempt(seed, number, material, loud=True)[2])
        kept = [tuple(map(int, line.split(":"))) for line in KEPT.read_text().split()]
        cases = [*kept, *((options.seed, options.first + i) for i in range(options.inputs))]
        print(f"ready after {time.monotonic() - began:.0f} s", flush=True)
        children = []
        for worker in range(options.workers):
            if (pid := os.fork()) == 0:
                share(cases[worker :: options.workers], material, folder / f"{worker}.answers")
                os._exit(0)
            children.append(pid)
        codes = [os.waitpid(pid, 0)[1] for pid in children]
        lines = [
            line.split("\t")
            for worker in range(options.workers)
            for line in (folder / f"{worker}.answers").read_text().splitlines()
        ]
    wrong = [line for line in lines if line[1]]
    seconds: defaultdict[str, float] = defaultdict(float)
    for line in lines:
        seconds[line[0]] += float(line[2])
    print(f"{len(lines)} inputs in {time.monotonic() - began:.0f} s, {len(wrong)} wrong")
    codes_of = Counter((line[0], line[4]) for line in lines)
    for name in sorted(seconds):
        ends = ", ".join(f"{n} x {code}" for (of, code), n in codes_of.items() if of == name)
        print(f"  {name}: {ends} ({seconds[name]:.0f} s)")
    for line in wrong:
        print(f"{line[3]}  {line[0]}: {line[1]}")
    return int(bool(wrong or any(codes) or len(lines) != len(cases)))


if __name__ == "__main__":
    sys.exit(main())
