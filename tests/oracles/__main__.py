"""Write `encoders.npz`: what `transformers` says of the encoders of `tests.oracles.encoders`.

It needs torch and transformers (made with 2.13.0 and 5.24) next to this repository's own packages.
"""

from collections.abc import Mapping

import jax
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers as hf  # pyright: ignore[reportMissingImports]

from model.families.encoder_config import EncoderConfig
from model.weights import weights_of
from tests.oracles.encoders import GOLDEN, KINDS, LENGTHS, drawn, inputs

Weights = Mapping[str, np.ndarray]


def shapes(config: EncoderConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of our weights, with the stacked dimension."""
    return {w.name: ((w.layers,) * w.stacked + w.shape) for w in weights_of(config)}


def dense(matrix: np.ndarray, outputs: int) -> np.ndarray:
    """A matrix of ours as torch has it: [outputs, inputs]."""
    return matrix.reshape(-1, outputs).T


def bert(config: EncoderConfig, w: Weights, prefix: str) -> dict[str, np.ndarray]:
    """Our weights under the names of BERT and RoBERTa."""
    D, F = config.embed_dim, config.mlp_dim
    state = {
        "embeddings.word_embeddings.weight": w["embedding/table"],
        "embeddings.position_embeddings.weight": w["position_table/table"],
        "embeddings.token_type_embeddings.weight": w["type_table/table"],
        **norm("embeddings.LayerNorm", w, "embedding_norm"),
    }
    for layer in range(config.num_layers):
        at = f"encoder.layer.{layer}"
        own = {name: w[f"blocks/{name}"][layer] for name in names(w, "blocks/")}
        for ours, theirs in (("q", "query"), ("k", "key"), ("v", "value")):
            state[f"{at}.attention.self.{theirs}.weight"] = (
                own[f"attention/w_{ours}"].reshape(D, D).T
            )
            state[f"{at}.attention.self.{theirs}.bias"] = own[f"attention/b_{ours}"].reshape(D)
        state[f"{at}.attention.output.dense.weight"] = dense(own["attention/w_o"], D)
        state[f"{at}.attention.output.dense.bias"] = own["attention/b_o"]
        state |= norm(f"{at}.attention.output.LayerNorm", own, "attention_norm")
        state[f"{at}.intermediate.dense.weight"] = dense(own["mlp/w_up"], F)
        state[f"{at}.intermediate.dense.bias"] = own["mlp/b_up"]
        state[f"{at}.output.dense.weight"] = dense(own["mlp/w_down"], D)
        state[f"{at}.output.dense.bias"] = own["mlp/b_down"]
        state |= norm(f"{at}.output.LayerNorm", own, "mlp_norm")
    return {f"{prefix}.{name}": value for name, value in state.items()}


def modernbert(config: EncoderConfig, w: Weights) -> dict[str, np.ndarray]:
    """Our weights under the names of ModernBERT."""
    D, F = config.embed_dim, config.mlp_dim
    state = {
        "model.embeddings.tok_embeddings.weight": w["embedding/table"],
        "model.embeddings.norm.weight": w["embedding_norm/scale"],
        "model.final_norm.weight": w["final_norm/scale"],
        "head.dense.weight": dense(w["task_head/w"], D),
        "head.norm.weight": w["task_head/norm/scale"],
        "decoder.weight": w["embedding/table"],
        "decoder.bias": w["task_head/bias"],
    }
    for layer in range(config.num_layers):
        at = f"model.layers.{layer}"
        first = layer == 0
        part = "first/" if first else "blocks/"
        own = {n: w[part + n] if first else w[part + n][layer - 1] for n in names(w, part)}
        if not first:
            state[f"{at}.attn_norm.weight"] = own["attention_norm/scale"]
        qkv = [own[f"attention/w_{x}"].reshape(D, D).T for x in "qkv"]
        state[f"{at}.attn.Wqkv.weight"] = np.concatenate(qkv)
        state[f"{at}.attn.Wo.weight"] = dense(own["attention/w_o"], D)
        state[f"{at}.mlp_norm.weight"] = own["mlp_norm/scale"]
        both = [dense(own["mlp/w_gate"], F), dense(own["mlp/w_up"], F)]
        state[f"{at}.mlp.Wi.weight"] = np.concatenate(both)
        state[f"{at}.mlp.Wo.weight"] = dense(own["mlp/w_down"], D)
    return state


def names(w: Weights, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in w if name.startswith(prefix)]


def norm(theirs: str, w: Weights, ours: str) -> dict[str, np.ndarray]:
    return {f"{theirs}.weight": w[f"{ours}/scale"], f"{theirs}.bias": w[f"{ours}/bias"]}


def oracle(kind: str, config: EncoderConfig, w: Weights) -> tuple[hf.PreTrainedModel, dict]:
    """The model of `transformers` without dropout, and its weights."""
    sizes = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.embed_dim,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_length + config.first_position,
    }
    if kind == "modernbert":
        model = hf.ModernBertForMaskedLM(
            hf.ModernBertConfig(
                **sizes,
                local_attention=2 * ((config.window or 1) - 1),
                pad_token_id=0,
                attn_implementation="eager",
            )
        )
        return model, modernbert(config, w)
    D = config.embed_dim
    common = {**sizes, "type_vocab_size": config.token_types, "layer_norm_eps": config.norm_epsilon}
    if kind == "bert-labels":
        model = hf.BertForSequenceClassification(hf.BertConfig(**common, num_labels=5))
        return model, bert(config, w, "bert") | {
            "bert.pooler.dense.weight": dense(w["task_head/w"], D),
            "bert.pooler.dense.bias": w["task_head/b"],
            "classifier.weight": w["task_head/table"],
            "classifier.bias": w["task_head/bias"],
        }
    if kind == "bert":
        model, at = hf.BertForMaskedLM(hf.BertConfig(**common)), "cls.predictions"
        transform, layer_norm = f"{at}.transform.dense", f"{at}.transform.LayerNorm"
    else:
        model, at = hf.RobertaForMaskedLM(hf.RobertaConfig(**common, pad_token_id=1)), "lm_head"
        transform, layer_norm = f"{at}.dense", f"{at}.layer_norm"
    return model, bert(config, w, kind) | {
        f"{transform}.weight": dense(w["task_head/w"], D),
        f"{transform}.bias": w["task_head/b"],
        **norm(layer_norm, w, "task_head/norm"),
        f"{at}.decoder.weight": w["embedding/table"],
        f"{at}.decoder.bias": w["task_head/bias"],
        f"{at}.bias": w["task_head/bias"],
    }


def rows_of(config: EncoderConfig) -> list[dict[str, torch.Tensor]]:
    """The rows of the inputs without their padding, as it is nothing that they may see."""
    drawn_inputs = inputs(config)
    return [
        {name: torch.tensor(drawn_inputs[name][n : n + 1, :length]).long() for name in drawn_inputs}
        for n, length in enumerate(LENGTHS)
    ]


def said_of(
    model: hf.PreTrainedModel, kind: str, row: Mapping[str, torch.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Hidden states and scores of a row, in float64."""
    types = {} if kind == "modernbert" else {"token_type_ids": row["types"]}
    with torch.no_grad():
        hidden = model.base_model(row["tokens"], **types).last_hidden_state
        return hidden[0].numpy(), model(row["tokens"], **types).logits[0].numpy()


def stacked(rows: list[np.ndarray]) -> np.ndarray:
    """Rows of different lengths as float32, with zeros after the shorter ones."""
    whole = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), np.float32)
    for row, values in enumerate(rows):
        whole[row, : len(values)] = values
    return whole


def main() -> None:
    golden = {}
    for kind, config in KINDS.items():
        weights = drawn(shapes(config))
        model, state = oracle(kind, config, weights)
        tensors = {name: torch.tensor(np.ascontiguousarray(v)) for name, v in state.items()}
        left = model.load_state_dict(tensors, strict=False)
        missing = [name for name in left.missing_keys if "position_ids" not in name]
        assert not missing and not left.unexpected_keys, (kind, missing, left.unexpected_keys)
        rows = [said_of(model.double().eval(), kind, row) for row in rows_of(config)]
        hidden, scores = (stacked([row[n] for row in rows]) for n in (0, 1))
        golden |= {f"{kind}/hidden": hidden, f"{kind}/scores": scores}
        print(kind, hidden.shape, scores.shape)
    np.savez_compressed(GOLDEN, **golden)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
