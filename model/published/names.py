"""How a kind of published model is configured, and what it calls the weights of a family.

A table of names serves import and export. How a matrix lies in a file follows from the dimensions
that its declaration sums over and produces.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from model.families.family import FamilyConfig
from model.published.fields import Fields

Shape = tuple[int, ...]


class Name(NamedTuple):
    """A weight of ours and the tensor that holds it."""

    ours: str
    """As in `model.weights.Weight.name`."""
    theirs: str
    """With {} for the number of the layer."""
    part: int = 0
    """Its number, of a tensor that holds the outputs of several weights one after the other."""
    shape: Callable[[Shape], Shape] | None = None
    """The shape of the tensor from that of the weight, where it is no vector, table or matrix of
    rows and columns, but its numbers lie as if it were."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A kind of published model."""

    family: type[FamilyConfig]
    """The family whose weights it has."""
    config_of: Callable[[Fields], FamilyConfig]
    """The architecture that a config.json describes, with the head `language`; ValueError for one
    that the family does not have."""
    fields_of: Callable[[Any], dict[str, Any]]
    """What config.json says of an architecture, as far as it can: what `config_of` reads in it may
    be another."""
    classes: Mapping[str, str]
    """Class in `transformers` by the kind of head, first that of models which name none."""
    names: tuple[Name, ...]
    """Of all weights but a head's."""
    heads: Mapping[str, tuple[Name, ...]] = field(default_factory=dict)
    """Of a head's weights, by its kind."""
    prefix: str = ""
    """What may stand before names of weights that are not a head's: checkpoints without a head
    leave it out."""
    inputs_first: bool = False
    """Whether matrices lie as [inputs, outputs], as in GPT-2; else they are [outputs, inputs]."""
    transforms: Mapping[str, str] = field(default_factory=dict)
    """`model.head_config.HeadConfig.transform` by the kind of head, where there is one."""
    poolings: tuple[str, ...] = ("first",)
    """`model.head_config.HeadConfig.pooling` of labels: the usual one, and others that config.json
    can say."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Endings of names in old files, and what they are called since."""
    unused: tuple[str, ...] = ()
    """Regular expressions of tensors without a meaning of their own: buffers, second copies."""
    batch_norm: float | None = None
    """Epsilon of its BatchNorms, which are read as what they compute in evaluation: a scale and a
    bias; None for a kind that has none."""
    neutral: tuple[str, ...] = ()
    """Fields of config.json that do not change what an evaluation computes."""

    def names_of(self, config: Any) -> Mapping[str, Name]:
        """The names of the weights of a model, with its head, by ours."""
        listed = (*self.names, *self.heads.get(config.head.kind, ()))
        return {name.ours: name for name in listed}

    def head_kind(self, classes: list[str]) -> str:
        """The kind of head of a model of these classes; the first of `classes` if none says
        another."""
        kinds = {name: kind for kind, name in self.classes.items()}
        return next((kinds[name] for name in classes if name in kinds), next(iter(self.classes)))


def of_itself(shape: Shape) -> Shape:
    """That of vectors which lie there in as many dimensions."""
    return shape


def after_one(shape: Shape) -> Shape:
    """That of vectors which lie there as those of one row of a batch."""
    return (1, *shape)


def pairs(ours: str, theirs: str) -> Iterator[Name]:
    """A norm's scale and bias."""
    yield Name(f"{ours}/scale", f"{theirs}.weight")
    yield Name(f"{ours}/bias", f"{theirs}.bias")


def dense(ours: str, letter: str, theirs: str, part: int = 0) -> Iterator[Name]:
    """A matrix w_LETTER and its bias b_LETTER."""
    yield Name(f"{ours}/w_{letter}", f"{theirs}.weight", part)
    yield Name(f"{ours}/b_{letter}", f"{theirs}.bias", part)
