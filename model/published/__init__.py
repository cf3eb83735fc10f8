"""Published kinds of models: their configs and the names of their weights, for import and export.
Imports no jax."""

from collections.abc import Mapping

from model.published import (
    bert,
    distilbert,
    gemma,
    gpt2,
    llama,
    modernbert,
    olmo,
    phi,
    qwen,
    roberta,
    smollm3,
    t5,
)
from model.published.names import Published

PUBLISHED: Mapping[str, Published] = {
    "bert": bert.BERT,
    "distilbert": distilbert.DISTILBERT,
    "gemma2": gemma.GEMMA2,
    "gemma3_text": gemma.GEMMA3,
    "gpt2": gpt2.GPT2,
    "llama": llama.LLAMA,
    "mistral": llama.MISTRAL,
    "modernbert": modernbert.MODERNBERT,
    "olmo2": olmo.OLMO2,
    "phi3": phi.PHI3,
    "qwen2": qwen.QWEN2,
    "qwen3": qwen.QWEN3,
    "roberta": roberta.ROBERTA,
    "smollm3": smollm3.SMOLLM3,
    "t5": t5.T5,
}
"""A kind of published model by the `model_type` of its config.json."""
