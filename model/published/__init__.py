"""Published kinds of models: their configs and the names of their weights, for import and export.
Imports no jax."""

from collections.abc import Mapping

from model.published import bert, gpt2, llama, modernbert, qwen, roberta
from model.published.names import Published

PUBLISHED: Mapping[str, Published] = {
    "bert": bert.BERT,
    "gpt2": gpt2.GPT2,
    "llama": llama.LLAMA,
    "mistral": llama.MISTRAL,
    "modernbert": modernbert.MODERNBERT,
    "qwen2": qwen.QWEN2,
    "qwen3": qwen.QWEN3,
    "roberta": roberta.ROBERTA,
}
"""A kind of published model by the `model_type` of its config.json."""
