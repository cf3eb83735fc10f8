"""What a network is asked of its hidden states. Imports no jax."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from data.errors import UserError


@dataclass(frozen=True, kw_only=True)
class HeadConfig:
    """Which of the hidden states are scored, and by what table."""

    kind: Literal["language", "labels", "tags", "span", "embedding"] = "language"
    """`language` scores tokens by their own table; `labels` scores a pooled row, `tags` every
    token, `span` where an answer begins and ends; `embedding` is the pooled row itself."""
    outputs: Annotated[int, Interval(ge=0, le=2**24)] = 0
    """C, the labels, tags or numbers there are, for heads `labels` and `tags`."""
    pooling: Literal["first", "last", "mean", "first_and_mean"] = "first"
    """What stands for a row, for heads `labels` and `embedding`: the hidden state of its first or
    last token, the mean of all, of an image those of its patches, or the first next to the mean
    (DINOv2)."""
    transform: Literal["none", "tanh", "relu", "norm", "normed"] = "none"
    """What a pooled row passes before it is scored: nothing, a dense layer with tanh (BERT's
    pooler) or ReLU (DistilBERT), or one with the network's activation and a norm (ModernBERT);
    `normed` is a norm alone (ConvNeXt)."""
    temperature: Annotated[float, Interval(ge=1e-3, le=100)] = 0.05
    """Divides the cosines of embeddings in training."""

    def __post_init__(self) -> None:
        wanted = self.kind in ("labels", "tags")
        if wanted != bool(self.outputs):
            raise UserError(
                f"model.head.outputs={self.outputs} must be {'at least 1' if wanted else '0'} with "
                f"model.head.kind={self.kind}, because "
                + (
                    "it scores that many labels; try the number of labels that the data have"
                    if wanted
                    else "only labels and tags are counted by it; try without --model.head.outputs"
                )
            )
