"""Complete studies by name: functions whose docstrings say what to expect."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from data import system
from data.config import DataConfig
from launch.config import RunConfig, load_dict
from launch.ladder.study import GridRow, Power, Study, from_dict
from launch.presets.preset import preset
from model.families.family import Proportions
from train.config import CheckpointConfig


def smoke() -> Study:
    """Four cells of two widths and two lengths: that all of it works, in about a minute.

    Command: `meshloom ladder run smoke --dir studies/smoke`. Hardware: any CPU.
    """
    return Study(
        base=_base(length=64, held_out=0.01, eval_batches=4, warmup=10),
        family=Proportions(head_dim=16, width_per_layer=16.0, mlp_ratio=8 / 3),
        learning_rate=Power(factor=4e-3),
        batch_tokens=Power(factor=512),
        grid=(
            GridRow(widths=(16, 32), flops=1e10),
            GridRow(widths=(16, 32), flops=2e10),
        ),
    )


def laptop() -> Study:
    """27 cells of 33 K to 409 K parameters on Python's standard library, and one to predict.

    Widths 32 to 80 at depth width / 16, over budgets from 5e11 to 4e12 FLOPs; the held-out cell,
    width 80, has eight times the compute of the largest. All are trained with three seeds, in
    batches of 512 tokens, and measured on a tenth of the library, all of it: a hundredth is nine
    files, on which seeds of one cell differ by 0.04 nats.
    Command: `meshloom ladder run laptop --dir studies/laptop`. Hardware: one CPU core,
    three quarters of an hour for the grid and one for what is held out; a second worker halves it.
    docs/studies.md has its result.
    """
    seeds = (0, 1, 2)
    return Study(
        base=_base(length=128, held_out=0.1, eval_batches=2200, warmup=100),
        family=Proportions(head_dim=16, width_per_layer=16.0, mlp_ratio=8 / 3),
        learning_rate=Power(factor=0.15, params=-0.32),
        batch_tokens=Power(factor=512),
        grid=(
            GridRow(widths=(32,), flops=5e11, seeds=seeds),
            GridRow(widths=(32, 48), flops=1e12, seeds=seeds),
            GridRow(widths=(32, 48, 64), flops=2e12, seeds=seeds),
            GridRow(widths=(48, 64, 80), flops=4e12, seeds=seeds),
        ),
        held_out=(GridRow(widths=(80,), flops=3.2e13, seeds=seeds),),
    )


def _base(*, length: int, held_out: float, eval_batches: int, warmup: int) -> RunConfig:
    """`tiny` on short rows, with a rate that stays until it falls to nothing in the last fifth."""
    tiny = preset("tiny")
    train = dataclasses.replace(
        tiny.train,
        eval_every=0,
        eval_batches=eval_batches,
        optimizer=dataclasses.replace(
            tiny.train.optimizer, schedule="wsd", warmup_steps=warmup, final_fraction=0.0
        ),
        checkpoint=CheckpointConfig(every_steps=None, every_minutes=1.0, keep_latest=1),
    )
    return dataclasses.replace(
        tiny,
        data=DataConfig(sequence_length=length, held_out=held_out),
        train=train,
        tensorboard=False,
        sample=0,
    )


STUDIES: dict[str, Callable[[], Study]] = {"smoke": smoke, "laptop": laptop}


def load_study(name: str) -> Study:
    """A study of ours by name, or of a YAML file with the fields of Study. ValueError names the
    file and the field."""
    if name in STUDIES:
        study = STUDIES[name]()
    else:
        path = Path(system.expanded("study", name))
        example = f"{' or '.join(STUDIES)}, or the study.yaml of a study's directory"
        study = from_dict(load_dict(path, "study", example), str(path))
    base = dataclasses.replace(study.base, data=study.base.data.absolute())
    return dataclasses.replace(study, base=base)
