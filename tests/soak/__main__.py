"""`make soak`: a campaign of faults that takes hours, can be stopped at any time, and continues.

Each try is one line of a JSONL file; a fault is done when it has its number of tries there.
"""

import contextlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import psutil
import tyro

from launch.process.runtime import leave_out_absent_tpu
from tests.soak.faults import FAULTS
from tests.soak.job import ROOT
from tests.soak.run import Outcome, code_digest
from tests.soak.table import table


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Harm real jobs in every way docs/reliability.md lists, and count what passed."""

    out: Path = ROOT / ".cache" / "soak" / "tries.jsonl"
    """Where tries are appended."""
    only: str = ""
    """Do only faults whose name contains this."""
    tries: int | None = None
    """Tries a fault, in place of the number each has of its own."""
    minutes: float = 600.0
    """Stop after this time."""
    table: bool = False
    """Print the table of the tries so far and do nothing."""


def main(campaign: Campaign) -> int:
    """Do what is missing, fault by fault in turn; the number of tries that did not hold."""
    if campaign.table:
        print(table(read(campaign.out)))
        return 0
    campaign.out.parent.mkdir(parents=True, exist_ok=True)
    ends = time.monotonic() + 60 * campaign.minutes
    failed = 0
    while name := missing(campaign):
        if time.monotonic() > ends:
            break
        number = done(campaign.out)[name]
        outcome = attempt(name, number)
        failed += bool(outcome["wrong"])
        line = {"fault": name, "number": number, **outcome}
        with campaign.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(
            f"{name} {number + 1}: {outcome['wrong'] or 'passed'} ({line['took']:.0f} s)",
            flush=True,
        )
    print(table(read(campaign.out)))
    return failed


def attempt(name: str, number: int) -> Outcome:
    """One try in a folder of its own, which stays if something did not hold."""
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    began = time.monotonic()
    try:
        outcome = FAULTS[name].do(folder, random.Random(f"{name} {number}"))
    except Exception as error:
        outcome = {"wrong": f"{type(error).__name__}: {error}"}
    finally:
        for left in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                left.kill()
    if outcome["wrong"]:
        outcome["folder"] = str(folder)
    else:
        shutil.rmtree(folder)
    took = round(time.monotonic() - began, 1)
    return outcome | {"took": took, "time": time.time(), "code": code_digest()[:12]}


def missing(campaign: Campaign) -> str | None:
    """The fault that lacks the largest share of its tries, None when all are done."""
    count = done(campaign.out)
    wanted = {
        name: campaign.tries or fault.tries
        for name, fault in FAULTS.items()
        if campaign.only in name
    }
    share = {name: count[name] / tries for name, tries in wanted.items()}
    name = min(share, key=lambda name: share[name], default=None)
    return name if name is not None and share[name] < 1 else None


def done(path: Path) -> Counter[str]:
    return Counter(str(line["fault"]) for line in read(path))


def read(path: Path) -> list[Outcome]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


if __name__ == "__main__":
    leave_out_absent_tpu()  # checkpoints are read by Orbax, which starts jax
    raise SystemExit(bool(main(tyro.cli(Campaign))))
