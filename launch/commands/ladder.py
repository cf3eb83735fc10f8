"""The command `meshloom ladder`: scaling studies, from their plan to a forecast and a report."""

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from data.errors import UserError
from data.fields import Count
from launch.commands.ladder_width import coordinate, transfer
from launch.ladder.study import Positive
from launch.schema.command_line import UsageError, run_subcommand


def main(arguments: list[str]) -> int | None:
    """Run `meshloom ladder plan|run|status|fit|forecast|report|coordinate|transfer`."""
    return run_subcommand(
        {
            "plan": plan,
            "run": run,
            "status": status,
            "fit": fit,
            "forecast": forecast,
            "report": report,
            "coordinate": coordinate,
            "transfer": transfer,
        },
        arguments,
        prog="meshloom ladder",
        about="Scaling experiments by model size, from their plan to a report.",
    )


if TYPE_CHECKING:
    from launch.ladder.runs import ScalingRun

Study = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
Dir = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


def plan(study: Study, measure: bool = True) -> None:
    """Show every cell of a study before it is paid for.

    Args:
        study: A study of ours by name, or a YAML file.
        measure: Compile each size and time a few steps here, for its memory and hours.
    """
    from launch.ladder.plan import show
    from launch.ladder.studies import load_study

    show(load_study(study), measure=measure)


def run(study: Study, dir: Path, held_out: bool = False, retry: bool = False) -> int:
    """Train the cells of a study that no other worker has; start it as often as there are devices.

    Args:
        study: A study of ours by name, or a YAML file.
        dir: Directory of the study, which workers may share.
        held_out: Train the held-out cells, once they are predicted.
        retry: Try cells once more that were given up.
    """
    from launch.ladder.cells import cells_of
    from launch.ladder.directory import make_study
    from launch.ladder.plan import require_room
    from launch.ladder.studies import load_study
    from launch.ladder.worker import work

    asked = load_study(study)
    require_room(cells_of(asked))
    directory = make_study(dir, asked)
    if held_out:
        from launch.ladder.forecast import require_forecast

        require_forecast(directory)
    return work(directory, held_out=held_out, retry=retry)


def status(dir: Dir) -> None:
    """Show which cells are done, running, failed and waiting; draws status.png.

    Args:
        dir: Directory of the study.
    """
    from launch.ladder.directory import open_study
    from launch.ladder.status import show

    show(open_study(dir))


Flops = Annotated[tuple[Positive, ...], tyro.conf.arg(metavar="FLOPS ...")]
StudyOrTable = Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
COLUMNS = "params=params,tokens=tokens,loss=loss"
Lines = Annotated[tuple[Count, ...], tyro.conf.arg(metavar="LINE ...")]


def fit(
    dir: StudyOrTable = None,
    csv: Path | None = None,
    columns: str = COLUMNS,
    flops: Flops = (),
    exclude: Lines = (),
    json: bool = False,
) -> None:
    """Predict the best size, tokens and loss for a compute, from finished runs.

    Args:
        dir: Directory of a study of ours; or else --csv.
        csv: Table of runs: CSV with a header, or JSON lines named .jsonl.
        columns: Which columns hold params, tokens or flops or both, loss (nats a token), and, if
            text was repeated, unique: the tokens of the text, each counted once.
        flops: Computes to predict for; if none, ten and a hundred times the largest of the runs.
        exclude: Lines of the table to leave out.
        json: Print JSON.
    """
    from launch.ladder.directory import open_study
    from launch.ladder.fit import fit as fit_laws
    from launch.ladder.forecast import known_backtests
    from launch.ladder.results import runs_of
    from launch.ladder.summary import facts_of, lines_of

    if csv is not None and dir is None:
        runs, backtests, where = _table(csv, columns, exclude), [], f"csv={csv}"
        remedy = (
            "try leaving lines out by --exclude once it is known what happened there, or add runs"
        )
    else:
        study = open_study(_study("fit", dir, csv))
        runs, backtests, where = runs_of(study), known_backtests(study), f"dir={dir}"
        remedy = "try more cells, or a grid without those that went wrong"
    largest = max(run.flops for run in runs)
    law_fit = fit_laws(runs, backtests)
    if law_fit.refused:
        raise UserError(
            f"{where} must hold runs that show where the best size lies, because no size is "
            f"predicted on a guess, but {'; '.join(law_fit.refused)}; {remedy}"
        )
    facts = facts_of(law_fit, flops or (10 * largest, 100 * largest))
    print(dumps(facts, indent=2) if json else "\n".join(lines_of(law_fit, facts)))


def _table(csv: Path, columns: str, exclude: tuple[int, ...]) -> "list[ScalingRun]":
    from launch.ladder.read import columns_of, read_runs

    return read_runs(csv, columns_of(columns), frozenset(exclude))


def _study(command: str, dir: Path | None, csv: Path | None) -> Path:
    """The directory, if there is no table as well."""
    if dir is None or csv is not None:
        raise UsageError(
            f"meshloom ladder {command} takes the directory of a study, or --csv FILE, as in "
            f"`meshloom ladder {command} studies/smoke`"
        )
    return dir


def forecast(dir: Dir, flops: Flops = (), json: bool = False) -> None:
    """Predict the held-out cells and the best size at other computes, and keep the forecast; once
    they are trained, show how it compares.

    Args:
        dir: Directory of the study.
        flops: Computes to predict the best size, tokens and loss of.
        json: Print JSON.
    """
    from launch.ladder.directory import open_study
    from launch.ladder.forecast import compared, forecast_of, lines_of

    study = open_study(dir)
    written = forecast_of(study, flops)
    if json:
        print(dumps(compared(study, written), indent=2))
    else:
        print(*lines_of(study, written), sep="\n")


def report(
    dir: StudyOrTable = None,
    csv: Path | None = None,
    columns: str = COLUMNS,
    exclude: Lines = (),
    out: Path | None = None,
) -> None:
    """Write a study as one page of HTML, report.html, with its pictures next to it as PNG and SVG.

    Args:
        dir: Directory of a study of ours; or else --csv.
        csv: Table of runs: CSV with a header, or JSON lines named .jsonl.
        columns: Which columns hold params, tokens or flops or both, loss (nats a token), and, if
            text was repeated, unique: the tokens of the text, each counted once.
        exclude: Lines of the table to leave out.
        out: Directory to write into; the study's, or that of the table, if not given.
    """
    from launch.ladder.directory import open_study
    from launch.ladder.report import write
    from launch.ladder.subject import of_study, of_table

    if csv is not None and dir is None:
        write(of_table(csv.name, _table(csv, columns, exclude)), out or csv.parent)
    else:
        folder = _study("report", dir, csv)
        write(of_study(open_study(folder)), out or folder)
