"""A Slurm of its own: munged, slurmctld and one slurmd a node, as children, in one directory.

Everything but the programs is in that directory: keys, sockets, state, logs. It needs root, as
munged and slurmd do, and the Debian packages slurmctld, slurmd, slurm-client and munge.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

HOST = socket.gethostname().split(".")[0]
NODES = (HOST, f"{HOST}-2")  # the first, where process 0 runs, must be a name that resolves
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmctldPidFile={dir}/slurmctld.pid
SlurmdPidFile={dir}/slurmd-%n.pid
SlurmdSpoolDir={dir}/spool-%n
StateSaveLocation={dir}/state
SlurmctldLogFile={dir}/slurmctld.log
SlurmdLogFile={dir}/slurmd-%n.log
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={dir}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MailProg=/bin/true
ReturnToService=2
KillWait=15
MinJobAge=3600
GresTypes=gpu
PartitionName=short Nodes=ALL Default=YES MaxTime=60 State=UP
"""


class Cluster:
    """The running cluster: `run` and `sbatch` speak to it and to no other."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {**os.environ, "SLURM_CONF": str(directory / "slurm.conf")}

    def run(self, *command: str, expect: int | None = 0, cwd: Path | None = None) -> str:
        """What a command prints, on both streams; its exit code must be `expect`."""
        done = subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert expect in (None, done.returncode), f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says."""
        shown = self.run("scontrol", "--oneliner", "show", "job", number)
        pairs = [word.partition("=") for word in shown.split()]
        return {name: value for name, _, value in pairs}

    def wait(self, number: str, *states: str, restarts: int = 0, seconds: float = 60) -> dict:
        """Poll until the job is in one of `states` after at least so many restarts."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(number)
            if job["JobState"] in states and int(job["Restarts"]) >= restarts:
                return job
            assert time.monotonic() < deadline, f"not {states}:\n{job}\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        """The last lines of every daemon's log."""
        files = sorted(self.directory.glob("*.log"))
        return "\n".join(f"== {f.name}\n{f.read_text(errors='replace')[-3000:]}" for f in files)


def missing() -> list[str]:
    """The programs that a cluster needs and this machine lacks."""
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "scancel")
    return [name for name in programs if _find(name) is None]


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """A cluster whose nodes are idle; all that it started is gone afterwards."""
    cluster = Cluster(directory)
    ports = [_free_port() for _ in range(len(NODES) + 1)]
    conf = CONF.format(dir=directory, host=HOST, port=ports[0])
    for node, port in zip(NODES, ports[1:], strict=True):
        conf += f"NodeName={node} NodeHostname={HOST} NodeAddr=127.0.0.1 Port={port} CPUs=2"
        conf += " Gres=gpu:2 State=UNKNOWN\n"
    (directory / "slurm.conf").write_text(conf)
    # Any file passes for a GPU: Slurm numbers them and tells the tasks.
    (directory / "gres.conf").write_text("Name=gpu Count=2 File=/dev/null,/dev/zero\n")
    (directory / "cgroup.conf").write_text("CgroupPlugin=autodetect\n")
    (directory / "state").mkdir()
    (directory / "munge").mkdir(mode=0o755)
    key = directory / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    at = directory / "munge"
    conf_file = str(directory / "slurm.conf")
    munged = f"munged --foreground --force --key-file={key} --socket={at}/socket"
    munged += f" --pid-file={at}/pid --log-file={at}/log --seed-file={at}/seed"
    daemons = [munged.split(), ["slurmctld", "-D", "-c", "-f", conf_file]]
    daemons += [["slurmd", "-D", "-N", node, "-f", conf_file] for node in NODES]
    started: list[subprocess.Popen[bytes]] = []
    try:
        for command in daemons:
            program = _find(command[0])
            assert program is not None, f"{command[0]} is not installed"
            with open(directory / f"{len(started)}-{command[0]}.log", "wb") as log:
                started.append(
                    subprocess.Popen(
                        [program, *command[1:]],
                        env=cluster.environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                )
            if command[0] == "munged":
                _until(lambda: (at / "socket").exists(), cluster)
        _until(lambda: "idle 2" in cluster.run("sinfo", "-h", "-o", "%T %D", expect=None), cluster)
        yield cluster
    finally:
        with contextlib.suppress(Exception):
            cluster.run("scancel", "--signal=KILL", "--full", "--user=root", expect=None)
        for process in reversed(started):
            process.terminate()
        for process in reversed(started):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        _kill_strays(directory)


def _kill_strays(directory: Path) -> None:
    """Kill what slurmd left: step daemons outlive it, and all of ours know this slurm.conf."""
    mark = f"SLURM_CONF={directory / 'slurm.conf'}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        pid = int(environ.parent.name)
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in environ.read_bytes().split(b"\0"):
                os.kill(pid, signal.SIGKILL)


def _until(holds, cluster: Cluster, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.1)


def _find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
