"""Where the records of a run go: a JSONL file, TensorBoard, Weights & Biases."""

import importlib.util
import json
import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from data import durable
from data.errors import UserError

Record = Mapping[str, float | int | str]


class Writer(Protocol):
    """Takes records; every record has `step`, the number of finished steps it is about."""

    def write(self, record: Record) -> None:
        """Take one record."""
        ...

    def close(self) -> None:
        """Finish; nothing is written afterwards."""
        ...


class JsonlWriter:
    """One JSON object a line, each written whole at once; floats read back as the same floats.

    Numbers that are not finite are strings ("nan", "inf", "-inf"), as JSON has no others. On
    resume, records up to `resume_step` are kept; later ones, and a line that a killed run left half
    written, go: the resumed run writes them again. Without `resume_step` the file must be new.
    """

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        if resume_step is None:
            if path.exists():
                raise UserError(
                    f"metrics={path} must not exist, because a new run would mix its records with "
                    "another's; try --resume or another --run-dir"
                )
        elif path.exists():
            kept = b"".join(line for line, record in _parsed(path) if record["step"] <= resume_step)
            # Flushed, or a power cut soon after would leave none of them.
            durable.write(path, kept)
        self._file = path.open("ab", buffering=0)

    def write(self, record: Record) -> None:
        plain = {name: _plain(value) for name, value in record.items()}
        self._file.write(json.dumps(plain, allow_nan=False).encode() + b"\n")

    def close(self) -> None:
        self._file.close()


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file; a half-written last line is left out."""
    return [record for _, record in _parsed(path)]


class TensorBoardWriter:
    """Event files for TensorBoard, without TensorFlow; after a resume later steps are hidden."""

    def __init__(self, directory: Path, resume_step: int | None = None) -> None:
        from tensorboardX import SummaryWriter

        purge = None if resume_step is None else resume_step + 1
        # Files are named by the second: one that begins in the same would take another's place.
        number = len(list(directory.glob("events.out.tfevents.*")))
        self._writer = SummaryWriter(
            str(directory), purge_step=purge, filename_suffix=f".{number:06}"
        )

    def write(self, record: Record) -> None:
        step, now = int(record["step"]), float(record.get("time", time.time()))
        for name, value in record.items():
            if name not in ("step", "time") and not isinstance(value, str):
                group = "eval" if name.startswith("eval_") else "train"
                tag = f"{group}/{name.removeprefix('eval_')}"
                self._writer.add_scalar(tag, value, step, walltime=now)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def require_wandb(project: str) -> None:
    """Raise ValueError if the package that sends records to a `project` is not installed.

    A folder called wandb, such as the package itself leaves where it ran, is not it.
    """
    spec = importlib.util.find_spec("wandb")
    if spec is None or spec.origin is None:
        raise UserError(
            f"wandb={project} must have the package wandb, because it sends the records; "
            "try pip install -e '.[wandb]', or --wandb None"
        )


class WandbWriter:
    """A run in a Weights & Biases project; its environment variables apply (WANDB_MODE=offline).

    There is one for the life of a run: `wandb.json` in the run directory keeps its id, and the last
    step that was sent. A later start continues it and sends no step twice, as W&B cannot take
    back what it has: after a rollback or a resume it keeps what it got first. A new run takes
    `run_id`, or an id of its own.
    """

    def __init__(
        self, project: str, directory: Path, config: dict[str, Any], run_id: str | None = None
    ) -> None:
        import wandb  # pyright: ignore[reportMissingImports] - an extra

        self._file = directory / "wandb.json"
        self._all = _sent(self._file) if self._file.exists() else {}
        self._own = self._all.setdefault(project, {"id": run_id or secrets.token_hex(8), "step": 0})
        self.last_step: int = self._own["step"]
        """The last step that was sent before this start, 0 if none was."""
        self._step = self.last_step
        # Before it is used, so that a start that is killed here has no other id than the next.
        durable.write(self._file, json.dumps(self._all) + "\n")
        self._run = wandb.init(
            project=project,
            id=self._own["id"],
            resume="allow",
            name=directory.name,
            dir=str(directory),
            config=config,
        )

    def write(self, record: Record) -> None:
        step = int(record["step"])
        if step <= self.last_step:
            return
        if step > self._step:
            self._note_sent()
            self._step = step
        self._run.log({k: v for k, v in record.items() if k != "step"}, step=step)

    def close(self) -> None:
        self._note_sent()
        self._run.finish()

    def _note_sent(self) -> None:
        """W&B sends the records of a step together, when the next begins or the run ends."""
        self._own["step"] = self._step
        durable.write(self._file, json.dumps(self._all) + "\n", flush=False)


def _sent(file: Path) -> dict[str, dict[str, Any]]:
    """What a wandb.json holds: id and last step, by project."""
    try:
        sent = json.loads(file.read_text(encoding="utf-8"))
        for own in sent.values():
            if type(own["id"]) is not str or type(own["step"]) is not int:
                raise TypeError(f"{own} is not an id and a step")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"wandb.json={file} must hold the id of its run in each project, and the last step "
            f"sent there, because a start continues that run, but it is damaged ({error}); try "
            "moving it away for a new run there, or setting WANDB_RUN_ID as well to continue "
            "the old one"
        ) from error
    return sent


class Unfailing:
    """Passes records on to a writer until it fails; then says so once and drops it.

    A run is worth more than its curves: whatever a writer raises, the run continues.
    """

    def __init__(self, writer: Writer, say: Callable[[str], None]) -> None:
        self._writer: Writer | None = writer
        self._say = say

    def write(self, record: Record) -> None:
        if self._writer is not None:
            try:
                self._writer.write(record)
            except Exception as error:
                self._drop(error)

    def close(self) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except Exception as error:
                self._drop(error)

    def _drop(self, error: Exception) -> None:
        name, self._writer = type(self._writer).__name__, None
        self._say(
            f"{name} failed and is dropped; the run continues. {type(error).__name__}: {error}"
        )


def _parsed(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    if path.exists() and not path.is_file():
        raise UserError(
            f"metrics={path} must be a regular file, because the records before a resume are read "
            "from it; try moving it away"
        )
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return
        try:
            yield line, json.loads(line)
        except ValueError as error:
            raise UserError(
                f"metrics={path} line {number} must be a JSON object, because the records before a "
                f"resume are kept, but: {error}; try deleting that line"
            ) from error


def _plain(value: Any) -> float | int | str:
    if isinstance(value, str | bool | int):
        return value
    number = value.item() if hasattr(value, "item") else value
    return str(number) if isinstance(number, float) and not math.isfinite(number) else number
