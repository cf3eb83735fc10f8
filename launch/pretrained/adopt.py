"""A run's config for a pretrained checkpoint: its architecture and tokenizer, and the rest of a
preset."""

import dataclasses
from pathlib import Path
from typing import Any

from data.errors import UserError
from launch.config import RunConfig
from launch.presets.preset import preset
from launch.pretrained.checkpoint import Pretrained, absolute, open_pretrained, usual_head
from launch.pretrained.image_files import with_images

BASES = {
    "decoder": "tiny",
    "encoder": "tiny-bert",
    "encoder_decoder": "tiny-t5",
    "labels": "tiny-labels",
    "tags": "tiny-tags",
    "span": "tiny-answers",
    "embedding": "tiny-embedding",
    "vision": "tiny-vit",
    "convnet": "tiny-photos",
}
"""The preset whose data and training a checkpoint has if none is named: by its head, or by its
family where that is of language, or reads no tokens."""
PARTS = ("vocab.txt", "vocab.json", "tokenizer_config.json")
"""Files of a tokenizer that is not, or not only, in one file."""
LENGTH = 512
"""Places of a row at most, if no preset says."""
OURS = ("dtype", "remat", "attention", "convolutions")
"""Fields of a model that a preset decides."""


def adopt(spec: str, config: RunConfig | None) -> RunConfig:
    """The config with the architecture and the tokenizer of a checkpoint in place of its own, and
    a head that answers the same as its own, pooled as models of that kind are; without a config,
    that of the checkpoint's own head.

    Raises ValueError as `open_pretrained`, and for a config of another family.
    """
    spec = absolute(spec)
    pretrained = open_pretrained(spec)
    model = pretrained.model
    if config is None:
        name = Path(spec.partition(":")[2].partition("@")[0]).resolve().name
        by_family = model.head.kind == "language" or model.vocabulary is None
        kind = model.kind if by_family else model.head.kind
        config = dataclasses.replace(preset(BASES[kind]), preset=name)
        if model.vocabulary is not None:
            data = dataclasses.replace(config.data, sequence_length=min(LENGTH, model.max_length))
            if model.head.kind == "labels":
                data = dataclasses.replace(data, task=pretrained.task)
            config = dataclasses.replace(config, data=data)
    elif config.model.kind != model.kind:
        raise UserError(
            f"start_from={spec} must be of the family {config.model.kind}, because the preset "
            f"{config.preset} trains that, but it is of {model.kind}; try another preset, or none"
        )
    else:
        asked: Any = config.model
        own = {name: getattr(asked, name) for name in OURS if hasattr(asked, name)}
        head = usual_head(pretrained.published, model, asked.head)
        if model.head.kind == head.kind:
            head = dataclasses.replace(head, pooling=model.head.pooling)
        model = dataclasses.replace(model, **own, head=head)
    if model.vocabulary is None:
        data = with_images(config.data, model, pretrained.path)
    else:
        data = _with_tokenizer(config.data, pretrained)
    return dataclasses.replace(config, model=model, data=data, start_from=spec)


def _with_tokenizer(data: Any, pretrained: Pretrained) -> Any:
    """A checkpoint whose tokenizer is not one of one file asks for that file, which a flag may
    name; one without any is of bytes, or of what the config says."""
    path = pretrained.tokenizer
    if path is None and any((pretrained.path / name).is_file() for name in PARTS):
        path = pretrained.path / "tokenizer.json"
    if path is None or not hasattr(data, "tokenizer"):
        return data
    data = dataclasses.replace(data, tokenizer=str(path))
    if pretrained.start is None or path.suffix != ".json" or not path.is_file():
        return data
    # Imported late, as it takes a while.
    from tokenizers import Tokenizer

    begin = Tokenizer.from_file(str(path)).id_to_token(pretrained.start)
    return data if begin is None else dataclasses.replace(data, begin_token=begin)
