"""Published kinds of models: their configs and the names of their weights, for import and export.
Imports no jax."""

from collections.abc import Mapping

from model.published import (
    bert,
    convnext,
    dinov2,
    distilbert,
    efficientnet_lite,
    gemma,
    gpt2,
    llama,
    modernbert,
    olmo,
    phi,
    qwen,
    resnet,
    roberta,
    smollm3,
    t5,
    vit,
)
from model.published.names import Published

PUBLISHED: Mapping[str, Published] = {
    "bert": bert.BERT,
    "convnext": convnext.CONVNEXT,
    "dinov2": dinov2.DINOV2,
    "dinov2_with_registers": dinov2.WITH_REGISTERS,
    "distilbert": distilbert.DISTILBERT,
    "efficientnet_lite0": efficientnet_lite.EFFICIENTNET_LITE0,
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
    "resnet": resnet.RESNET,
    "roberta": roberta.ROBERTA,
    "smollm3": smollm3.SMOLLM3,
    "t5": t5.T5,
    "vit": vit.VIT,
}
"""A kind of published model by the `model_type` of its config.json."""
