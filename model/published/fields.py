"""Reading config.json: what is read is known, and what is not read is refused."""

from collections.abc import Collection, Mapping
from typing import Any

from data.errors import UserError

NEUTRAL = frozenset(
    "_attn_implementation _attn_implementation_autoset _name_or_path add_cross_attention "
    "architectures bad_words_ids begin_suppress_tokens bos_token_id "
    "chunk_size_feed_forward cross_attention_hidden_size decoder_start_token_id "
    "diversity_penalty do_sample dtype early_stopping encoder_no_repeat_ngram_size "
    "eos_token_id eos_token_ids exponential_decay_length_penalty finetuning_task "
    "forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label "
    "initializer_factor is_decoder is_encoder_decoder label2id length_penalty max_length "
    "min_length model_type no_repeat_ngram_size num_beam_groups num_beams num_labels "
    "num_return_sequences output_attentions output_hidden_states output_past output_scores "
    "pad_token_id prefix problem_type pruned_heads remove_invalid_values repetition_penalty "
    "return_dict return_dict_in_generate sep_token_id suppress_tokens task_specific_params "
    "temperature tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype "
    "torchscript transformers_version typical_p use_bfloat16 use_cache ".split()
)
"""Fields of every kind of model that do not change what it computes."""


class Fields:
    """The fields of a config.json. path: the file, for messages."""

    def __init__(self, values: Mapping[str, Any], path: str) -> None:
        self.values, self.path = values, path
        self._read: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """A field that may be missing."""
        self._read.add(name)
        value = self.values.get(name)
        return default if value is None else value

    def unless_null(self, name: str, default: Any) -> Any:
        """A field that may be missing, where null is a value of its own."""
        return self.get(name, None if name in self.values else default)

    def size(self, name: str, default: int | None = None) -> int:
        """A whole number of at least 1; ValueError if it is none, or missing without a default."""
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(
                f"{self.path}: {name} must be a whole number of at least 1, because it is a size "
                f"of the model, but it is {value!r}; try the config.json that came with the weights"
            )
        return value

    def require(self, name: str, *wanted: Any) -> Any:
        """A field that must have one of these values, the first of which is its default."""
        value = self.get(name, wanted[0])
        if value not in wanted:
            raise UserError(
                f"{self.path}: {name}={value!r} must be {' or '.join(map(repr, wanted))}, because "
                "the model would compute something else here; try another checkpoint"
            )
        return value

    def choose(self, name: str, choices: Mapping[str, str], default: str) -> str:
        """What a field's value is called here."""
        return choices[self.require(name, default, *(c for c in choices if c != default))]

    def require_all_read(self, neutral: Collection[str]) -> None:
        """Raise ValueError for a field that was not read and may change what is computed."""
        strange = sorted(self.values.keys() - self._read - NEUTRAL - set(neutral))
        strange = [n for n in strange if not (self.values[n] is None or self.values[n] in ([], {}))]
        if strange:
            named = ", ".join(f"{name}={self.values[name]!r}"[:60] for name in strange[:5])
            raise UserError(
                f"{self.path} must have known fields only, because another may change what the "
                f"model computes, but it has {named}; try a checkpoint without, or write to us "
                "what the field means"
            )
