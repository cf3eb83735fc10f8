"""Write the goldens of `tests.oracles.published`: what `transformers` says of small random models.

It needs torch, transformers and NumPy alone: `python tests/oracles/published/__main__.py`, made
with torch 2.13.0 and transformers 5.24.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers as hf  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
SMALL = {
    "vocab_size": 68,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
GPT2 = {
    "vocab_size": 68,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 40,
}
GROUPED = {**SMALL, "num_key_value_heads": 2, "pad_token_id": 0}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "beta_fast": 3.0,
    "beta_slow": 0.5,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}
GEMMA = {"head_dim": 16, "sliding_window": 7, "query_pre_attn_scalar": 24}
NEAR, WIDE = "sliding_attention", "full_attention"
DISTIL = {
    "vocab_size": 68,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 40,
}
MODERN = {"local_attention": 8, "pad_token_id": 0, "attn_implementation": "eager"}
MODELS = {
    "llama2": hf.LlamaForCausalLM(hf.LlamaConfig(**SMALL, num_key_value_heads=2)),
    "llama3": hf.LlamaForCausalLM(
        hf.LlamaConfig(**SMALL, num_key_value_heads=2, rope_parameters=LLAMA3)
    ),
    "smollm2": hf.LlamaForCausalLM(
        hf.LlamaConfig(**SMALL, num_key_value_heads=2, tie_word_embeddings=True)
    ),
    "mistral": hf.MistralForCausalLM(
        hf.MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=7)
    ),
    "qwen2": hf.Qwen2ForCausalLM(hf.Qwen2Config(**SMALL, num_key_value_heads=2)),
    "qwen3": hf.Qwen3ForCausalLM(
        hf.Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True)
    ),
    "qwen3-yarn": hf.Qwen3ForCausalLM(hf.Qwen3Config(**GROUPED, head_dim=16, rope_parameters=YARN)),
    "olmo2": hf.Olmo2ForCausalLM(hf.Olmo2Config(**GROUPED)),
    "smollm3": hf.SmolLM3ForCausalLM(hf.SmolLM3Config(**GROUPED, no_rope_layer_interval=2)),
    "smollm3-yarn": hf.SmolLM3ForCausalLM(
        hf.SmolLM3Config(**GROUPED, no_rope_layer_interval=2, rope_parameters=YARN)
    ),
    "phi3": hf.Phi3ForCausalLM(
        hf.Phi3Config(**GROUPED, sliding_window=9, partial_rotary_factor=0.5)
    ),
    "gemma2": hf.Gemma2ForCausalLM(
        hf.Gemma2Config(
            **GROUPED,
            **GEMMA,
            attn_logit_softcapping=2.0,
            final_logit_softcapping=3.0,
            attn_implementation="eager",
        )
    ),
    "gemma3": hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(
            **GROUPED,
            **GEMMA,
            layer_types=[NEAR, NEAR, WIDE],
            rope_parameters={
                NEAR: {"rope_type": "default", "rope_theta": 100.0},
                WIDE: LINEAR,
            },
        )
    ),
    "distilbert": hf.DistilBertForMaskedLM(hf.DistilBertConfig(**DISTIL)),
    "distilbert-labels": hf.DistilBertForSequenceClassification(
        hf.DistilBertConfig(**DISTIL, num_labels=4)
    ),
    "gpt2": hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2)),
    "bert": hf.BertForMaskedLM(hf.BertConfig(**SMALL)),
    "bert-labels": hf.BertForSequenceClassification(hf.BertConfig(**SMALL, num_labels=5)),
    "bert-tags": hf.BertForTokenClassification(hf.BertConfig(**SMALL, num_labels=5)),
    "roberta": hf.RobertaForMaskedLM(hf.RobertaConfig(**SMALL, type_vocab_size=1)),
    "roberta-labels": hf.RobertaForSequenceClassification(
        hf.RobertaConfig(**SMALL, type_vocab_size=1, num_labels=4)
    ),
    "modernbert": hf.ModernBertForMaskedLM(hf.ModernBertConfig(**SMALL, **MODERN)),
    "modernbert-labels": hf.ModernBertForSequenceClassification(
        hf.ModernBertConfig(**SMALL, **MODERN, num_labels=4, classifier_pooling="mean")
    ),
    "modernbert-tags": hf.ModernBertForTokenClassification(
        hf.ModernBertConfig(**SMALL, **MODERN, num_labels=4)
    ),
}
TOKENS = 20
# Distances reach beyond the buckets of one distance each, and beyond the largest.
T5 = {
    "vocab_size": 68,
    "d_model": 32,
    "d_kv": 12,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 12,
    "relative_attention_max_distance": 14,
}
MODELS["t5"] = hf.T5ForConditionalGeneration(hf.T5Config(**T5, num_decoder_layers=3))
MODELS["t5-v1.1"] = hf.T5ForConditionalGeneration(
    hf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
)
UNTIED = ("t5-v1.1",)
"""With a table of outputs of its own, which a constructed T5 never has, and a loaded one may."""


def drawn(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A weight of that name: normal, and near 1 for the scales of norms."""
    values = 0.2 * np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    scale = len(shape) == 1 and name.endswith("weight")
    return (values + scale).astype(np.float32)


def main() -> None:
    scores, listed = {}, {}
    for kind, model in MODELS.items():
        if kind in UNTIED:
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.clone())
        shapes = {n: list(v.shape) for n, v in model.state_dict().items()}
        tied = set(getattr(model, "all_tied_weights_keys", None) or {})
        tied -= {"lm_head.weight"} if kind in UNTIED else set()
        shapes = {n: s for n, s in shapes.items() if n not in tied and "position_ids" not in n}
        state = {n: torch.tensor(drawn(n, tuple(s))) for n, s in shapes.items()}
        left = model.load_state_dict(state, strict=False)
        assert set(left.missing_keys) <= tied | {"position_ids"} and not left.unexpected_keys, left
        if kind not in UNTIED:
            model.tie_weights()
        tokens = torch.tensor(np.random.default_rng(0).integers(3, 67, (2, TOKENS)))
        with torch.no_grad():
            writes = {}
            if model.config.is_encoder_decoder:
                writes = {"decoder_input_ids": tokens.flip(1)}
            scores[kind] = model.double().eval()(tokens, **writes).logits.float().numpy()
        config = model.config.to_dict() | {"architectures": [type(model).__name__]}
        if kind in UNTIED:
            config = {n: v for n, v in config.items() if n != "scale_decoder_outputs"}
            config["tie_word_embeddings"] = False
        listed[kind] = {"config": config, "shapes": shapes}
        print(kind, scores[kind].shape, len(shapes), sorted(tied))
    np.savez_compressed(HERE / "scores.npz", **scores)
    text = json.dumps(listed, default=str, separators=(",", ":"), sort_keys=True)
    (HERE / "models.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
