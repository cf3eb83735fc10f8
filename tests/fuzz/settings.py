"""Strange surroundings of a command: variables, encodings, outputs, limits."""

import random
import resource
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.child import Setting


def strange_setting(choose: random.Random, folder: Path) -> Setting:
    """A setting that differs in one thing from a sound one."""
    (folder / "file").touch()
    nowhere = choose.choice(
        ("/nowhere/x", str(folder / "file"), "", "relative", "/proc", "\udcff", "x" * 300)
    )
    options: list[Callable[[], Setting]] = [
        lambda: Setting(variables={"HOME": None}),
        lambda: Setting(variables={"HOME": nowhere}),
        lambda: Setting(variables={"HOME": nowhere}, sealed=True),
        lambda: Setting(sealed=True),
        lambda: Setting(variables={"TMPDIR": nowhere}),
        lambda: Setting(variables={"JAX_COMPILATION_CACHE_DIR": nowhere}),
        lambda: Setting(variables={"TFDS_DATA_DIR": nowhere, "MPLCONFIGDIR": nowhere}),
        lambda: Setting(variables={"MESHLOOM_CHECKPOINT_KEY_FILE": nowhere}),
        lambda: Setting(variables={"MESHLOOM_HEARTBEAT": nowhere}),
        lambda: Setting(variables={"COLUMNS": choose.choice(("0", "1", "-5", "x", "9" * 9, ""))}),
        lambda: Setting(variables={"TERM": choose.choice(("dumb", "", "xterm-256color"))}),
        lambda: Setting(variables={"XLA_FLAGS": ""}),
        lambda: Setting(
            variables={choose.choice(("JAX_NUM_PROCESSES", "SLURM_PROCID", "SLURM_JOB_ID")): "x"}
        ),
        lambda: Setting(encoding="ascii"),
        lambda: Setting(encoding=choose.choice(("latin-1", "cp1252"))),
        lambda: Setting(stdout="full"),
        lambda: Setting(stdout="closed"),
        lambda: Setting(stdout="gone"),
        lambda: Setting(limits={resource.RLIMIT_FSIZE: choose.choice((0, 10, 300, 5000))}),
        lambda: Setting(limits={resource.RLIMIT_NOFILE: choose.choice((8, 16, 40))}),
        lambda: Setting(without_directory=True),
    ]
    return choose.choice(options)()
