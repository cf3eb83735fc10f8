"""The command `meshloom ladder`: scaling studies, from their plan to a forecast and a report."""

from pathlib import Path
from typing import Annotated

import tyro

from data.errors import UserError
from data.fields import Count
from launch.ladder.study import Positive
from launch.ladder.width_command import coordinate, transfer
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


Study = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDY")]
Dir = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]


def plan(study: Study, measure: bool = True) -> None:
    """Tell every cell of a study before it is paid for.

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
        held_out: Train the held-out cells, once they are foretold.
        retry: Try cells once more that were given up.
    """
    from launch.ladder.cells import cells_of
    from launch.ladder.directory import make_study
    from launch.ladder.room import require_room
    from launch.ladder.studies import load_study
    from launch.ladder.worker import work

    asked = load_study(study)
    require_room(cells_of(asked))
    made = make_study(dir, asked)
    if held_out:
        from launch.ladder.forecast import require_forecast

        require_forecast(made)
    return work(made, held_out=held_out, again=retry)


def status(dir: Dir) -> None:
    """Tell which cells are done, running, failed and waiting; draws status.png.

    Args:
        dir: Directory of the study.
    """
    from launch.ladder.directory import open_study
    from launch.ladder.status import show

    show(open_study(dir))


Flops = Annotated[tuple[Positive, ...], tyro.conf.arg(metavar="FLOPS ...")]
Lines = Annotated[tuple[Count, ...], tyro.conf.arg(metavar="LINE ...")]


def fit(
    dir: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None,
    csv: Path | None = None,
    columns: str = "params=params,tokens=tokens,loss=loss",
    flops: Flops = (),
    exclude: Lines = (),
    json: bool = False,
) -> None:
    """Tell the best size, tokens and loss for a compute, from finished runs.

    Args:
        dir: Directory of a study of ours; or else --csv.
        csv: Table of runs: CSV with a header, or JSON lines named .jsonl.
        columns: Which columns hold params, tokens or flops or both, loss (nats a token), and, if
            text was repeated, unique: the tokens of the text, each counted once.
        flops: Computes to tell of; ten and a hundred times the largest of the runs if not given.
        exclude: Lines of the table to leave out.
        json: Print JSON.
    """
    from launch.ladder.fit import fit as fitted
    from launch.ladder.read import columns_of, read_runs
    from launch.ladder.show import as_json, as_text

    if dir is not None and csv is None:
        from launch.ladder.directory import open_study
        from launch.ladder.forecast import tested
        from launch.ladder.results import runs_of

        study = open_study(dir)
        runs, held_out, where = runs_of(study), tested(study), f"dir={dir}"
        remedy = "try more cells, or a grid without those that went wrong"
    elif csv is not None and dir is None:
        runs, held_out = read_runs(csv, columns_of(columns), frozenset(exclude)), []
        where = f"csv={csv}"
        remedy = (
            "try leaving lines out by --exclude once it is known what happened there, or add runs"
        )
    else:
        raise UsageError(
            "meshloom ladder fit takes the directory of a study, or --csv FILE, as in "
            "`meshloom ladder fit studies/smoke`"
        )
    largest = max(run.flops for run in runs)
    found = fitted(runs, held_out)
    if found.refused:
        raise UserError(
            f"{where} must hold runs that show where the best size lies, because no size is told "
            f"on a guess, but {'; '.join(found.refused)}; {remedy}"
        )
    print((as_json if json else as_text)(found, flops or (10 * largest, 100 * largest)))


def forecast(dir: Dir, flops: Flops = (), json: bool = False) -> None:
    """Foretell the held-out cells and the best size at other computes, and keep what was foretold;
    once they are trained, tell how it compares.

    Args:
        dir: Directory of the study.
        flops: Computes to tell the best size, tokens and loss of.
        json: Print JSON.
    """
    from launch.ladder.directory import open_study
    from launch.ladder.forecast import as_text, with_measured
    from launch.ladder.forecast import forecast as foretold

    study = open_study(dir)
    made = foretold(study, flops)
    print(with_measured(study, made) if json else as_text(study, made))


def report(
    dir: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")] = None,
    csv: Path | None = None,
    columns: str = "params=params,tokens=tokens,loss=loss",
    exclude: Lines = (),
    out: Path | None = None,
) -> None:
    """Write a study as one page of HTML, report.html, with its pictures beside it as PNG and SVG.

    Args:
        dir: Directory of a study of ours; or else --csv.
        csv: Table of runs: CSV with a header, or JSON lines named .jsonl.
        columns: Which columns hold params, tokens or flops or both, loss (nats a token), and, if
            text was repeated, unique: the tokens of the text, each counted once.
        exclude: Lines of the table to leave out.
        out: Directory to write into; the study's, or that of the table, if not given.
    """
    from launch.ladder.directory import open_study
    from launch.ladder.read import columns_of, read_runs
    from launch.ladder.report import write
    from launch.ladder.subject import of_study, of_table

    if dir is not None and csv is None:
        write(of_study(open_study(dir)), out or dir)
    elif csv is not None and dir is None:
        runs = read_runs(csv, columns_of(columns), frozenset(exclude))
        write(of_table(csv.name, runs), out or csv.parent)
    else:
        raise UsageError(
            "meshloom ladder report takes the directory of a study, or --csv FILE, as in "
            "`meshloom ladder report studies/smoke`"
        )
