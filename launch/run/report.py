"""What `train` reports: the run in a few lines, its records in every writer, and its end."""

import os
import shlex
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import jax
from rich.console import Console

from data.errors import UserError
from data.rows.rows import Rows
from data.tokenizer import Tokenizer, visible
from launch.config import RunConfig
from launch.process import exits, typed
from launch.process.mesh import shown
from launch.process.typed import near
from launch.run.build import Evaluator
from launch.run.directory import RunDirectory
from launch.run.environment import versions
from launch.run.generate import continuations
from model.flops import embedding_parameters, flops_per_token, parameter_count
from train.processes import is_first
from train.report.console import ConsoleWriter, silent_if_broken
from train.report.record import Place
from train.report.throughput import Throughput, mfu_note
from train.report.writers import (
    JsonlWriter,
    Record,
    TensorBoardWriter,
    Unfailing,
    WandbWriter,
    Writer,
)
from train.state import TrainState


class Report:
    """Prints on process 0 and is silent on the others."""

    def __init__(self, config: RunConfig, settings: dict[str, Any]) -> None:
        """`config`: resolved; `settings`: as the run's files keep them."""
        self._config = config
        self._settings = settings
        self._model = config.model
        self._lead = is_first()
        self._console = Console(highlight=False)
        self.versions = versions()

    def say(self, text: str) -> None:
        """Print a line."""
        if self._lead:
            with silent_if_broken(self._console):
                self._console.print(text, markup=False, soft_wrap=True)

    def begin(self, run: RunDirectory, rows: Rows) -> None:
        """What will be trained, on what, with which kernel, and in which directory."""
        model = self._model
        total = parameter_count(model)
        device = jax.devices()[0]
        self.say(
            f"{self._config.preset}: {total / 1e6:,.2f} M parameters, "
            f"{(total - embedding_parameters(model)) / 1e6:,.2f} M without embeddings"
        )
        self.say(
            f"devices: {jax.device_count()} x {device.device_kind}, "
            f"mesh {shown(jax.sharding.get_mesh().shape)}, "
            f"{jax.process_count()} process{'es' if jax.process_count() > 1 else ''}"
        )
        seen = "causal" if model.attended.causal else "bidirectional"
        how = "segments masked" if self._config.data.packing else f"plain {seen} rows"
        kernel = f"attention: {model.kernel} kernel ({how}), " if model.kernel else ""
        self.say(f"{kernel}compute in {model.dtype}")
        for line in rows.describe():
            self.say(line)
        if note := mfu_note(device.device_kind, self._flops_per_token):
            self.say(note)
        self.say(f"run: {near(run.path)}")

    @property
    def _flops_per_token(self) -> float:
        data = self._config.data
        return flops_per_token(self._model, data.sequence_length, data.scored_share)

    def throughput(self) -> Throughput:
        """Speed of this model on these devices."""
        return Throughput(
            flops_per_token=self._flops_per_token,
            device_kind=jax.devices()[0].device_kind,
            num_devices=jax.device_count(),
        )

    def open_writers(
        self, run: RunDirectory, place: Place, last_step: int, closing: ExitStack
    ) -> Callable[[Record], None]:
        """A function that passes a record to every writer; `closing` closes them."""
        if not self._lead:
            return lambda record: None
        resumed = place.step if run.metrics.exists() else None
        writers: list[Writer] = []

        def add(writer: Writer) -> None:
            writers.append(Unfailing(writer, self.say))
            closing.callback(writers[-1].close)

        def try_to_add(name: str, start: Callable[[], Writer]) -> None:
            try:
                add(start())
            except Exception as error:
                why = str(error) if isinstance(error, UserError) else exits.summary(error)
                self.say(f"{name} cannot be written and is left out; the run continues. {why}")

        add(JsonlWriter(run.metrics, resumed))
        config, board = self._config, run.path / "tensorboard"
        # A row of one place, such as an image, is no token.
        unit = "rows" if config.data.sequence_length == 1 else "tok"
        add(ConsoleWriter(last_step, self._console, unit))
        if config.tensorboard:
            try_to_add("TensorBoard", lambda: TensorBoardWriter(board, resumed))
        if project := config.wandb:
            try_to_add("Weights & Biases", lambda: self._wandb(project, run, place))

        def write(record: Record) -> None:
            for writer in writers:
                writer.write(record)

        return write

    def _wandb(self, project: str, run: RunDirectory, place: Place) -> WandbWriter:
        run_id = os.environ.get("WANDB_RUN_ID")
        writer = WandbWriter(project, run.path, self._settings, run_id)
        if writer.last_step > place.step:
            self.say(
                f"Weights & Biases has the steps up to {writer.last_step:,} already; they are not "
                f"sent again, and {run.metrics.name} has them as they are now"
            )
        return writer

    def finish(
        self, run: RunDirectory, state: TrainState, place: Place, tokenizer: Tokenizer | None
    ) -> None:
        """Where the checkpoints are, how to continue, the loss curve, and a sample of text."""
        self.say(f"\ncheckpoints: {near(run.checkpoints)}, the last at step {place.step}")
        if self._lead:
            self._draw(run)
        if exits.is_program():
            more = 2 * self._config.train.steps
            self.say(f"to continue: {typed.train(run.path)} --train.steps {more}")
        new = self._config.sample
        if not new or tokenizer is None or not self._model.generates:
            return
        if jax.process_count() > 1:
            sample = shlex.join([*typed.program(), "generate", near(run.path)])
            self.say(f"a sample:    {sample}")
            return
        if (last := self._model.last_position) is not None:
            new = min(new, last - 1)
        text = continuations(state.evaluated, tokenizer, [""], new=new)[0]
        self.say(f"a sample of {new} tokens:\n\n{text}")

    def show(self, run: RunDirectory, evaluator: Evaluator) -> None:
        """What the model says of some held-out rows, and which labels it takes for which."""
        if evaluator.judged is None:
            return
        for line in evaluator.rows.show(*evaluator.judged):
            self.say(visible(line))
        confused = evaluator.rows.confusion(*evaluator.judged)
        if confused is None or not self._lead:
            return
        import launch.run.confusion

        for line in launch.run.confusion.in_words(*confused):
            self.say(visible(line))

        picture = run.path / "confusion.png"
        try:
            launch.run.confusion.draw(*confused, picture)
        except (OSError, ValueError) as error:
            self.say(f"confusion:   not drawn, because {error}")
        else:
            self.say(f"confusion:   {near(picture)}")

    def _draw(self, run: RunDirectory) -> None:
        """Draw the loss curve; a run that is done does not fail because of its picture."""
        import launch.run.curve

        picture = run.path / "loss.png"
        try:
            launch.run.curve.draw(run.metrics, picture)
        except (OSError, ValueError) as error:
            self.say(f"loss curve:  not drawn, because {error}")
        else:
            self.say(f"loss curve:  {near(picture)}")
