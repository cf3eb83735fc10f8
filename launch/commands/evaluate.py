"""The command `meshloom evaluate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from data.fields import Count, Whole
from launch.commands.beam_options import BeamOptions
from launch.config import DistributedConfig, MeshConfig
from launch.run.saved import MovedData
from launch.schema.command_line import parse


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(BeamOptions):
    """Loss and other measures of a run's checkpoint on its held-out rows."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    batches: Count | None = None
    """Batches of held-out rows at most; all of them by default."""
    measures: tuple[Literal["exact", "bleu", "chrf", "rouge"], ...] = ()
    """What an encoder-decoder writes of held-out sources, next to the right texts, in percent:
    texts that are right, BLEU and chrF (both by sacrebleu), ROUGE-1, 2 and L."""
    tokens: Count | None = None
    """Tokens to write of a source at most; as many as a row of targets has by default."""
    data: MovedData = field(default_factory=MovedData)
    """Where its data are now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""
    distributed: DistributedConfig = field(default_factory=DistributedConfig)
    """The processes."""


def main(arguments: list[str]) -> None:
    """Print the step of the checkpoint and its measures."""
    options = parse(EvaluateOptions, arguments, prog="meshloom evaluate")
    import jax

    from launch.run.evaluate import evaluate
    from train.report.console import describe_evaluation

    step, measures = evaluate(
        options.run,
        step=options.step,
        batches=options.batches,
        data=options.data,
        mesh=options.mesh,
        distributed=options.distributed,
        texts=options.measures,
        beams=options.search(),
        tokens=options.tokens,
    )
    if jax.process_index() == 0:
        print(f"step {step}  {describe_evaluation(measures)}")
