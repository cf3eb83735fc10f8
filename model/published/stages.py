"""What published networks of stages share."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data.errors import UserError
from model.families.convnet_config import ConvnetConfig
from model.published.fields import Fields
from model.published.names import Name, Published


@dataclass(frozen=True, kw_only=True)
class StagesPublished(Published):
    """A kind whose weights are as many as its stages and blocks are."""

    block_names: Callable[[ConvnetConfig], Iterator[Name]]
    """Of the weights of all blocks."""

    def names_of(self, config: Any) -> Mapping[str, Name]:
        return {**super().names_of(config), **{n.ours: n for n in self.block_names(config)}}


def stages(
    fields: Fields, sizes: list[int], depths: list[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels and depths of the stages; ValueError if they are not as many of both."""
    listed = [
        fields.get(name, usual) for name, usual in (("hidden_sizes", sizes), ("depths", depths))
    ]
    whole = all(
        isinstance(each, list) and all(isinstance(n, int) and n > 0 for n in each)
        for each in listed
    )
    if not whole or not listed[0] or len(listed[0]) != len(listed[1]):
        raise UserError(
            f"{fields.path}: hidden_sizes={listed[0]} and depths={listed[1]} must be as many whole "
            "numbers, because each stage has one of both; try the config.json that came with the "
            "weights"
        )
    return tuple(listed[0]), tuple(listed[1])


def both(ours: str, theirs: str, letter: str = "") -> Iterator[Name]:
    """A weight and its bias."""
    yield Name(f"{ours}w{letter}", f"{theirs}.weight")
    yield Name(f"{ours}b{letter}", f"{theirs}.bias")


def scored(theirs: str) -> tuple[Name, ...]:
    """A table and its bias."""
    return (Name("task_head/table", f"{theirs}.weight"), Name("task_head/bias", f"{theirs}.bias"))
