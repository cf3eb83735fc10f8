"""The `train PRESET ...` that a launcher gets, checked before anything is submitted."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from data.errors import UserError
from launch.run.arguments import TrainOptions, train_options
from launch.run.directory import RunDirectory
from launch.run.saved import open_run
from launch.schema.command_line import UsageError


class Training(NamedTuple):
    """A training whose place is the launcher's to choose."""

    words: list[str]
    """As typed, without --run-dir."""
    options: TrainOptions

    @property
    def again(self) -> str:
        """The flag that makes them fit for the first start and for every other; may be empty."""
        resumes = self.options.resume or self.options.resume_or_start
        return "" if resumes else "--resume-or-start"


def training(words: Sequence[str], more: Sequence[str] = ()) -> Training:
    """Parse `train ...` with the flags `more`; ValueError or exit 2 as `meshloom train` does."""
    if not words or words[0] != "train":
        raise UsageError(
            f"a launcher needs `train` and what follows it, not {' '.join(words) or 'nothing'!r}; "
            "try meshloom launch slurm --nodes 2 train tiny"
        )
    options = train_options([*words[1:], *more])
    if options.overwrite:
        raise UserError(
            "overwrite=True must be left out, because every restart would set the run aside; "
            "try another --run-dir"
        )
    return Training(_without_run_dir([*words, *more]), options)


def require_free(training: Training, run_dir: Path) -> None:
    """Raise ValueError if a run would be started where there is a run, or resumed where none is."""
    resume, exists = training.options.resume, RunDirectory(run_dir).config.is_file()
    if exists and not (resume or training.options.resume_or_start):
        raise UserError(
            f"run_dir={run_dir} must not hold a run already, because it would be mixed with this "
            "one; try train --resume to continue it, or another --run-dir"
        )
    if resume and not exists:
        raise UserError(
            f"run_dir={run_dir} must hold a run, because --resume continues it; "
            "try without --resume"
        )
    if exists:
        open_run(run_dir)


def _without_run_dir(words: Sequence[str]) -> list[str]:
    kept: list[str] = []
    skip = False
    for word in words:
        name = word.partition("=")[0].replace("_", "-")
        if not skip and name != "--run-dir":
            kept.append(word)
        skip = not skip and name == "--run-dir" and "=" not in word
    return kept
