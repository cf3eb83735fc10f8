"""The arguments of `train`: what a run starts from, and the flags that change it.

Two passes of the same parser: the first reads the flags that decide whose defaults hold, the second
reads all of them. Imports no jax.
"""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from data.errors import UserError
from launch.config import RunConfig, load
from launch.presets.preset import preset
from launch.run.directory import RunDirectory
from launch.run.saved import open_run
from launch.schema.command_line import UsageError, parse, parse_known, wants_help


@dataclass(frozen=True, kw_only=True)
class StartOptions:
    """What a run's config starts from."""

    config: Path | None = None
    """Start from this YAML, as a run directory contains it, instead of a preset."""


@dataclass(frozen=True, kw_only=True)
class DirectoryOptions(StartOptions):
    """And where the run is."""

    run_dir: Path | None = None
    """Directory of the run; a new one under runs/ by default."""
    resume: bool = False
    """Continue from the latest checkpoint in --run-dir; the preset may be left out."""
    resume_or_start: bool = False
    """Continue the run in --run-dir if there is one, else start it; for commands that a cluster
    starts again and again."""
    overwrite: bool = False
    """Move the run that is in --run-dir aside and start again."""


@dataclass(frozen=True, kw_only=True)
class PretrainedOptions:
    """Weights that decide the architecture."""

    start_from: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DirectoryOptions):
    """Train a preset; each field of its config can be changed by a flag."""

    run: Annotated[RunConfig, tyro.conf.arg(name="")]

    def __post_init__(self) -> None:
        # As a path, gs://bucket has lost a slash.
        if self.run_dir is not None and re.match(r"[a-z0-9]+:/", str(self.run_dir)):
            raise UserError(
                f"run_dir={self.run_dir} must be a local path, because a run is written as files "
                "of this machine; try a folder where the bucket is mounted"
            )
        if self.resume_or_start and (self.run_dir is None or self.overwrite):
            raise UserError(
                "resume_or_start=True must come with --run-dir and without --overwrite, because "
                "it continues the run that is there; try --run-dir DIRECTORY --resume-or-start"
            )
        source = self.run.start_from
        if self.overwrite and source and self.run_dir and _is_same(Path(source), self.run_dir):
            raise UserError(
                f"start_from={source} must not be the run that --overwrite sets aside, because "
                "weights are read from it afterwards; try another --run-dir"
            )


def _is_same(path: Path, other: Path) -> bool:
    return path.expanduser().resolve() == other.expanduser().resolve()


def train_options(arguments: list[str]) -> TrainOptions:
    """What `meshloom train ARGUMENTS` would do; raises UsageError, exits as the parser does."""
    name, flags = split_preset(arguments)
    prog = f"meshloom train {name or 'PRESET'}"
    start = parse_known(DirectoryOptions, flags, prog=prog)
    config = starting_config(name, start, "train")
    spec = parse_known(PretrainedOptions, flags, prog=prog).start_from
    # A run that began with weights has their architecture, and needs them no more.
    if spec is not None and _continues(start):
        config = None
    elif spec is not None:
        config = with_weights(config, spec)
    before = None
    if config is None:
        config = before = _of_directory(start, wants_help(flags))
    options = parse(
        TrainOptions,
        flags,
        prog=prog,
        description=f"Defaults shown are those of {config.preset}; `meshloom presets` lists all "
        "presets.",
        default=TrainOptions(run=config),
    )
    return options if before is None else _as_it_began(options, before)


def _as_it_began(options: TrainOptions, before: RunConfig) -> TrainOptions:
    """The options of a run that goes on, whose weights at its beginning are those that they were
    then."""
    from launch.run.source import as_before

    source = as_before(options.run.start_from, before.start_from)
    return dataclasses.replace(options, run=dataclasses.replace(options.run, start_from=source))


def split_preset(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The name of the preset that the arguments begin with, if they do, and the flags."""
    if arguments and not arguments[0].startswith("-"):
        return arguments[0], arguments[1:]
    return None, arguments


def starting_config(name: str | None, start: StartOptions, command: str) -> RunConfig | None:
    """The config of the preset, or of the file of --config; None without either.

    Raises UsageError for both, and for an unknown preset.
    """
    if name is not None and start.config is not None:
        raise UsageError(
            f"meshloom {command} takes a preset or --config, not both; leave out {name}"
        )
    if name is not None:
        try:
            return preset(name)
        except UserError as error:
            raise UsageError(str(error)) from error
    return None if start.config is None else load(start.config)


def with_weights(config: RunConfig | None, spec: str) -> RunConfig:
    """The config with the architecture of the weights that --start-from names."""
    from launch.run.source import adopt_source

    return adopt_source(spec, config)


def _continues(start: DirectoryOptions) -> bool:
    """Whether a run in --run-dir is gone on with."""
    if start.run_dir is None:
        return False
    return start.resume or (start.resume_or_start and RunDirectory.at(start.run_dir).has_run())


def _of_directory(start: DirectoryOptions, help: bool) -> RunConfig:
    """The config of the run in --run-dir that is to be continued; for help also without one."""
    directory = start.run_dir
    if directory is not None and _continues(start):
        return open_run(directory).config
    exists = directory is not None and RunDirectory.at(directory).has_run()
    if help:
        return preset("tiny")
    if exists:
        raise UsageError(
            f"meshloom train needs a preset, or --resume to continue the run in {directory}"
        )
    if directory is not None and start.resume_or_start:
        raise UsageError(
            f"meshloom train needs a preset to start the run, because there is none in {directory} "
            f"to continue; try meshloom train tiny --run-dir {directory} --resume-or-start"
        )
    raise UsageError(
        "meshloom train needs a preset, as in `meshloom train tiny` (`meshloom presets` lists all)"
    )
