"""The language model in a published model that sees too: Gemma 3 from 4b on."""

import re
from collections.abc import Mapping
from typing import Any

from launch.pretrained.tensors import RawTensor

OUTER = {"gemma3"}
"""`model_type` of models whose text is a language model as it would be alone."""
TEXT = (
    (r"(?:language_model\.model|model\.language_model)\.(.+)", r"model.\1"),
    (r"(?:language_model\.)?lm_head\.(.+)", r"lm_head.\1"),
)
"""Names of its tensors, by several versions of `transformers`, and what they are alone."""
OTHERS = re.compile(r"(?:model\.)?(vision_tower|multi_modal_projector)\..+")


def text_fields(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The config.json of the language model; itself if it is of nothing else."""
    if values.get("model_type") not in OUTER or not isinstance(values.get("text_config"), Mapping):
        return values
    tied = {name: values[name] for name in ("tie_word_embeddings",) if name in values}
    return {**values["text_config"], **tied}


def text_tensors(tensors: Mapping[str, RawTensor]) -> tuple[dict[str, RawTensor], list[str]]:
    """The tensors of the language model by the names that they have alone, and the names of those
    of other parts."""
    own, others = {}, []
    for name, tensor in tensors.items():
        if OTHERS.fullmatch(name):
            others.append(name)
            continue
        for pattern, alone in TEXT:
            name = re.sub(f"^{pattern}$", alone, name)
        own[name] = tensor._replace(name=name)
    return own, others
