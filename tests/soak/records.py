"""Records that go elsewhere: the service that takes them raises."""

import os
import random
from pathlib import Path

from tests.soak.job import INJECT, ROOT, STEPS, Layout, difference
from tests.soak.run import Outcome, start, straight

PACKAGE = """
class FakeRun:
    def log(self, record, step):
        if step >= {step}:
            raise {error}("no network")

    def finish(self):
        if {step} > {steps}:
            raise {error}("no network")

def init(**settings):
    if {step} == 0:
        raise {error}("no network")
    return FakeRun()
"""


def wandb_raises(folder: Path, chance: random.Random) -> Outcome:
    """W&B raises at its start, at some step or at its end: said once, and the run is the same."""
    layout = Layout(1)
    reference = straight(layout)[0]
    run, output, packages = folder / "run", folder / "output.txt", folder / "packages"
    packages.mkdir()
    step = chance.choice((0, chance.randrange(1, STEPS + 1), STEPS + 1))
    error = chance.choice(("RuntimeError", "OSError", "ConnectionError", "ValueError"))
    code = PACKAGE.format(step=step, steps=STEPS, error=error)
    (packages / "wandb.py").write_text(code)
    paths = os.pathsep.join(map(str, (packages, INJECT, ROOT)))
    job = start(layout, run, output, "--wandb", "soak", PYTHONPATH=paths)
    ended, said = job.wait(), job.said()
    wrong = f"ended with {ended}" if ended else difference(run, reference)
    if not wrong and (said.count("the run continues. ") != 1 or said.count("no network") != 1):
        wrong = f"it was said {said.count('no network')} times"
    return {"wrong": wrong, "at_step": step}
