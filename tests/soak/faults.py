"""The faults of the campaign: each does a real harm to a real job and tells what came of it."""

from tests.soak.folders import gone, read_only
from tests.soak.goodput import killed_every_minute
from tests.soak.ladder import KILLS, worker_stopped, workers_killed
from tests.soak.numbers import bad_row, flipped_copy
from tests.soak.places import (
    damage,
    disk_full,
    network_cut,
    records_full,
    save_stuck,
    token_disk_stops,
)
from tests.soak.power import power_cut
from tests.soak.processes import kill_all, pause, process_of_four, sigterm, sizes
from tests.soak.records import wandb_raises
from tests.soak.run import Injection
from tests.soak.sizes import fewer_devices, larger_batch
from tests.soak.workers import reader_stopped

BIT_EQUAL = "losses and final arrays bit-equal to the undisturbed run"
SAME_RESULTS = "the results of undisturbed workers, to the byte"
FAULTS: dict[str, Injection] = {
    **{
        f"kill -9 of all, {n} process{'es' * (n > 1)}": Injection(
            100, kill_all(n), f"{BIT_EQUAL}; at most two save intervals lost"
        )
        for n in (1, 2, 4)
    },
    **{
        f"{name}, one of 4": Injection(20, process_of_four(how), f"down within 15 s, {BIT_EQUAL}")
        for name, how in {
            "kill -9": "SIGKILL",
            "SIGSTOP": "SIGSTOP",
            "segfault": "SIGSEGV",
            "exception": "raise",
            "exit 0 too early": "exit",
        }.items()
    },
    "SIGTERM, one process": Injection(
        20, sigterm(1, "all", "step"), f"exit 75 in 10 s, {BIT_EQUAL}"
    ),
    "SIGTERM to the launcher of 4": Injection(
        20, sigterm(4, "all", "step"), f"exit 75 in 10 s, {BIT_EQUAL}"
    ),
    "SIGTERM to one of 4": Injection(
        20, sigterm(4, "one", "step"), f"all save, the launcher restarts them, {BIT_EQUAL}"
    ),
    **{
        f"SIGTERM during {when}": Injection(
            20, sigterm(1, "all", when), f"exit 75 in 10 s, {BIT_EQUAL}"
        )
        for when in ("save", "evaluation", "compile")
    },
    **{
        f"checkpoint file {how}": Injection(
            60, damage(how), "noticed, set aside, the one before used"
        )
        for how in ("flipped by a bit", "truncated", "deleted")
    },
    "power cut": Injection(
        20, power_cut, "resumes from the newest checkpoint that stood, final arrays bit-equal"
    ),
    "one of 4 paused for 3 s": Injection(10, pause, "nothing happens"),
    "disk full during save": Injection(10, disk_full, "clear error, resumes when there is room"),
    "disk full for records": Injection(10, records_full, "the run continues, says so once, saves"),
    "save stuck (disk frozen)": Injection(10, save_stuck, f"watchdog ends it, {BIT_EQUAL}"),
    "disk of the tokens stops answering": Injection(
        10, token_disk_stops, f"watchdog ends it with all stacks, {BIT_EQUAL}"
    ),
    "network between two hosts cut and back": Injection(10, network_cut, f"both end, {BIT_EQUAL}"),
    **{
        f"{name} in the data, {policy}": Injection(10, bad_row(kind, policy), holds)
        for kind, name in {"nan": "NaN", "spike": "spike"}.items()
        for policy, holds in {
            "stop": "exit 1, rows named, the checkpoint before stands; resumes with skip",
            "skip": "that update dropped, rows named; a second run is bit-equal",
            "rollback": "back to the checkpoint before, rows left out; a second run is bit-equal",
        }.items()
    },
    "bit turned over in one copy of a parameter": Injection(
        20,
        flipped_copy,
        f"named with its device (or the loss is NaN), no checkpoint after it; then {BIT_EQUAL}",
    ),
    "thread that reads data stopped": Injection(
        10, reader_stopped, f"watchdog ends it with all stacks, {BIT_EQUAL}"
    ),
    "coordinator killed": Injection(
        10, process_of_four("coordinator"), f"down within 15 s, {BIT_EQUAL}"
    ),
    "checkpoint folder read-only": Injection(
        10, read_only, f"clear error, what stands is intact, then {BIT_EQUAL}"
    ),
    "checkpoint folder gone": Injection(
        10, gone, f"clear error, no new beginning without it, then {BIT_EQUAL}"
    ),
    "W&B raises": Injection(10, wandb_raises, f"the run continues, says so once, {BIT_EQUAL}"),
    "8 -> 4 devices": Injection(10, fewer_devices, "each row once, losses within 2e-6"),
    "batch 64 -> 128": Injection(
        10, larger_batch, "each row once, bit-equal to a run changed at that row undisturbed"
    ),
    "kill -9 of one of 2 every minute for 20 minutes": Injection(
        1, killed_every_minute, "goodput at least 80 %, its parts sum to the wall time within 1 %"
    ),
    "4 -> 2 -> 1 -> 4 processes": Injection(10, sizes, "each row once, losses within 2e-6"),
    f"kill -9 of one of 2 ladder workers, {KILLS} times": Injection(
        4, workers_killed, SAME_RESULTS
    ),
    "SIGSTOP of a ladder worker, until another takes its cell": Injection(
        5, worker_stopped, SAME_RESULTS
    ),
}
