"""The command `meshloom launch`: picks the launcher, and splits its flags from its command."""

import sys
from collections.abc import Callable

from launch.commands.table import require_command
from launch.run.arguments import train_options
from launch.schema.command_line import UsageError, parse, split_command, unknown

USAGE = (
    "usage: meshloom launch LAUNCHER [FLAGS] COMMAND ...\n\n"
    "  local   processes on this machine, of any command\n"
    "  slurm   a job of a Slurm cluster, of train\n"
    "  k8s     the JobSet of a train run, as YAML\n"
    "  tpu-vm  the command that trains on all workers\n\n"
    "as in: meshloom launch local --processes 2 --devices-per-process 4 train tiny\n"
    "`meshloom launch LAUNCHER --help` documents the flags of each."
)


def main(arguments: list[str]) -> int | None:
    """Run `meshloom launch ARGUMENTS` and return its exit code, None for 0."""
    if arguments and arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if not arguments:
        names = " or ".join(f"`{name}`" for name in LAUNCHERS)
        raise UsageError(f"meshloom launch needs {names} as its first word\n{USAGE}")
    if arguments[0] not in LAUNCHERS:
        raise unknown("meshloom launch", arguments[0], LAUNCHERS)
    return LAUNCHERS[arguments[0]](arguments[1:])


def _local(arguments: list[str]) -> int:
    from launch.cluster.local import LocalOptions, run_local
    from launch.cluster.restartable import train_local

    own, command = split_command(arguments, LocalOptions)
    options = parse(LocalOptions, own, prog="meshloom launch local")
    if not command:
        raise UsageError(f"meshloom launch local needs a command to start\n{USAGE}")
    require_command(command[0])
    if command[0] == "train":
        return train_local(command[1:], train_options(command[1:]), options)
    return run_local([sys.executable, "-m", "launch", *command], options)


def _slurm(arguments: list[str]) -> None:
    from launch.cluster.slurm import launch_slurm, launch_workers
    from launch.cluster.slurm_options import SlurmOptions

    own, command = split_command(arguments, SlurmOptions)
    options = parse(SlurmOptions, own, prog="meshloom launch slurm")
    if options.workers is not None or command[:1] == ["ladder"]:
        launch_workers(options, command)
    else:
        launch_slurm(options, command)


def _kubernetes(arguments: list[str]) -> None:
    from launch.cluster.kubernetes import KubernetesOptions, launch_kubernetes

    own, command = split_command(arguments, KubernetesOptions)
    launch_kubernetes(parse(KubernetesOptions, own, prog="meshloom launch k8s"), command)


def _tpu_vm(arguments: list[str]) -> int:
    from launch.cluster.tpu_vm import TpuVmOptions, launch_tpu_vm

    own, command = split_command(arguments, TpuVmOptions)
    return launch_tpu_vm(parse(TpuVmOptions, own, prog="meshloom launch tpu-vm"), command)


LAUNCHERS: dict[str, Callable[[list[str]], int | None]] = {
    "local": _local,
    "slurm": _slurm,
    "k8s": _kubernetes,
    "tpu-vm": _tpu_vm,
}
