"""The command line of `train`: what the run begins from, and the flags that change it."""

from pathlib import Path
from typing import TYPE_CHECKING

from data import system
from launch.schema.command_line import UsageError, parse, value_of

if TYPE_CHECKING:
    from launch.commands.options import TrainOptions
    from launch.config import RunConfig


def train_options(arguments: list[str]) -> "TrainOptions":
    """What `meshloom train ARGUMENTS` would do; raises UsageError, exits as the parser does."""
    from launch.commands.options import TrainOptions, begun_from
    from launch.presets.preset import preset
    from launch.run.saved import open_run

    named = bool(arguments) and not arguments[0].startswith("-")
    prog = f"meshloom train {arguments[0]}" if named else "meshloom train PRESET"
    directory = value_of("--run-dir", arguments)
    wants_help = {"-h", "--help"} & set(arguments)
    flags = {argument.replace("_", "-") for argument in arguments}
    if (begun := begun_from(arguments, "train")) is not None:
        base = begun
    elif directory is not None and "--resume" in flags:
        base = open_run(Path(directory)).config
    elif wants_help:
        base = preset("tiny")
    elif directory is not None and "--resume-or-start" in flags:
        base = _of_run(directory)
    elif directory is not None and _holds_run(directory):
        raise UsageError(
            f"meshloom train needs a preset, or --resume to go on with the run in {directory}"
        )
    else:
        raise UsageError(
            "meshloom train needs a preset, as in `meshloom train tiny` "
            "(`meshloom presets` lists all)"
        )
    description = (
        f"Defaults shown are those of {base.preset}; `meshloom presets` lists all presets."
    )
    return parse(
        TrainOptions,
        arguments[1:] if named else arguments,
        prog=prog,
        description=description,
        default=TrainOptions(run=base),
    )


def _holds_run(directory: str) -> bool:
    from launch.run.directory import RunDirectory

    return RunDirectory(path=system.local_path("run_dir", directory)).config.is_file()


def _of_run(directory: str) -> "RunConfig":
    """The config of the run that lies there; UsageError if none does, as it could not be begun."""
    from launch.run.saved import open_run

    if not _holds_run(directory):
        raise UsageError(
            f"meshloom train needs a preset to begin the run, because {directory} holds none to go "
            f"on with; try meshloom train tiny --run-dir {directory} --resume-or-start"
        )
    return open_run(Path(directory)).config
