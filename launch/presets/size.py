"""What a row of a family's table says, and the run that follows from it."""

from typing import Any, NamedTuple

from data.config import DataConfig
from launch.config import RunConfig
from model.families.decoder_config import DecoderConfig
from train.config import OptimizerConfig, TrainConfig


class Size(NamedTuple):
    """One row of a family's table: widths, and the batch, learning rate and length of training."""

    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp: int
    batch_size: int
    learning_rate: float
    steps: int

    def model(self, **architecture: Any) -> DecoderConfig:
        """A decoder of these widths; the heads divide the width unless `head_dim` is passed."""
        widths: dict[str, Any] = {
            "num_layers": self.layers,
            "embed_dim": self.width,
            "num_heads": self.heads,
            "num_kv_heads": self.kv_heads,
            "head_dim": self.width // self.heads,
            "mlp_dim": self.mlp,
        }
        return DecoderConfig(**(widths | architecture))


def published(
    name: str,
    size: Size,
    model: DecoderConfig,
    *,
    warmup: int,
    beta2: float,
    length: int | None = None,
    z_loss: float = 0.0,
    begin_rows: bool = False,
) -> RunConfig:
    """The run of a published model, in rows of `length` tokens if not its longest."""
    return RunConfig(
        preset=name,
        model=model,
        data=DataConfig(
            sources=("text:corpus/*.txt",),
            tokenizer="corpus/tokenizer.json",
            sequence_length=length or model.max_length,
            begin_rows=begin_rows,
        ),
        train=TrainConfig(
            steps=size.steps,
            batch_size=size.batch_size,
            z_loss=z_loss,
            eval_every=1000,
            optimizer=OptimizerConfig(
                learning_rate=size.learning_rate,
                warmup_steps=warmup,
                beta1=0.9,
                beta2=beta2,
            ),
        ),
    )
