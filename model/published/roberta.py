"""RoBERTa: BERT's encoder with positions from 2 and a head of other names."""

from typing import Any

from model.families.encoder_config import EncoderConfig
from model.published import bert
from model.published.fields import Fields
from model.published.names import Name, Published, pairs


def config_of(fields: Fields) -> EncoderConfig:
    """Its positions begin after the id of padding."""
    # The head has it whatever the layers have.
    fields.require("hidden_act", "gelu")
    return bert.config_of(fields, first_position=fields.get("pad_token_id", 1) + 1)


def fields_of(config: EncoderConfig) -> dict[str, Any]:
    first = max(1, config.first_position)
    return bert.fields_of(config, first) | {"pad_token_id": first - 1}


ROBERTA = Published(
    family=EncoderConfig,
    config_of=config_of,
    fields_of=fields_of,
    classes={
        "language": "RobertaForMaskedLM",
        "labels": "RobertaForSequenceClassification",
        "tags": "RobertaForTokenClassification",
        "span": "RobertaForQuestionAnswering",
    },
    names=bert.NAMES,
    heads={
        "language": (
            *bert.transform("lm_head.dense"),
            *pairs("task_head/norm", "lm_head.layer_norm"),
            Name("task_head/bias", "lm_head.bias"),
        ),
        "labels": (*bert.transform("classifier.dense"), *bert.table_head("classifier.out_proj")),
        "tags": bert.table_head("classifier"),
        "span": bert.table_head("qa_outputs"),
    },
    prefix="roberta.",
    transforms={"labels": "tanh"},
    renamed=bert.BERT.renamed,
    unused=(
        r"(roberta\.)?embeddings\.position_ids",
        r"lm_head\.decoder\.(weight|bias)",
        r"(roberta\.)?pooler\.dense\.(weight|bias)",
    ),
    neutral=bert.BERT.neutral,
)
