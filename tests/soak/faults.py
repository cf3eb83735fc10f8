"""The faults of the campaign: each does a real harm to a real job and tells what came of it."""

from tests.soak.places import damage, disk_full, network_cut, records_full, save_stuck
from tests.soak.processes import kill_all, one_of_four, pause, sigterm, sizes
from tests.soak.run import Fault

BIT_EQUAL = "losses and final arrays bit-equal to the undisturbed run"
FAULTS: dict[str, Fault] = {
    **{
        f"kill -9 of all, {n} process{'es' * (n > 1)}": Fault(
            100, kill_all(n), f"{BIT_EQUAL}; at most two save intervals lost"
        )
        for n in (1, 2, 4)
    },
    **{
        f"{name}, one of 4": Fault(20, one_of_four(how), f"down within 15 s, {BIT_EQUAL}")
        for name, how in {
            "kill -9": "SIGKILL",
            "SIGSTOP": "SIGSTOP",
            "segfault": "SIGSEGV",
            "exception": "raise",
            "exit 0 too early": "exit",
        }.items()
    },
    "SIGTERM, one process": Fault(20, sigterm(1, "all", "step"), f"exit 75 in 10 s, {BIT_EQUAL}"),
    "SIGTERM to the launcher of 4": Fault(
        20, sigterm(4, "all", "step"), f"exit 75 in 10 s, {BIT_EQUAL}"
    ),
    "SIGTERM to one of 4": Fault(
        20, sigterm(4, "one", "step"), f"all save, the launcher restarts them, {BIT_EQUAL}"
    ),
    **{
        f"SIGTERM during {when}": Fault(
            20, sigterm(1, "all", when), f"exit 75 in 10 s, {BIT_EQUAL}"
        )
        for when in ("save", "evaluation", "compile")
    },
    **{
        f"checkpoint file {how}": Fault(60, damage(how), "noticed, set aside, the one before used")
        for how in ("flipped by a bit", "truncated", "deleted")
    },
    "one of 4 paused for 3 s": Fault(10, pause, "nothing happens"),
    "disk full during save": Fault(10, disk_full, "clear error, resumes when there is room"),
    "disk full for records": Fault(10, records_full, "the run goes on, says so once, saves"),
    "save stuck (disk frozen)": Fault(10, save_stuck, f"watchdog ends it, {BIT_EQUAL}"),
    "network between two hosts cut and back": Fault(10, network_cut, f"both end, {BIT_EQUAL}"),
    "4 -> 2 -> 1 -> 4 processes": Fault(10, sizes, "each row once, losses within 2e-6"),
}
