"""The tokenizer in a GGUF file: byte-level BPE, as a `tokenizer.json` and back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data import durable
from data.cache import digest_of, local_cache
from data.errors import UserError
from launch.pretrained.gguf.names import require_keys
from launch.pretrained.tokenizer_files import TokenizerFiles

KEY = "tokenizer.ggml."
NORMAL, CONTROL, ADDED, UNUSED = 1, 3, 4, 5
"""Types of tokens: of text; that stand for no text; of text, but cut out first; of nothing."""
WORDS = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class WordCut(NamedTuple):
    """How text is cut into words before their bytes are merged."""

    steps: tuple[Mapping[str, Any], ...]
    """As in a tokenizer.json."""
    whole_first: bool = False
    """Whether a word that is a token is one without any merging."""


CUTS: Mapping[str, WordCut] = {
    "gpt-2": WordCut((WORDS,)),
    "smollm": WordCut(({"type": "Digits", "individual_digits": True}, WORDS)),
    "llama-bpe": WordCut(
        (
            {
                "type": "Split",
                "pattern": {"Regex": LLAMA3},
                "behavior": "Isolated",
                "invert": False,
            },
            {**WORDS, "use_regex": False},
        ),
        whole_first=True,
    ),
}
"""By what llama.cpp calls it."""


def read_tokenizer(path: Path, known: Mapping[str, Any]) -> Path:
    """The tokenizer of a file with these fields as a `tokenizer.json`, which is written into the
    cache; ValueError if it is of another kind."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    require_keys(path, known, [f"{KEY}{name}" for name in ("tokens", "token_type", "eos_token_id")])
    if len(known[f"{KEY}tokens"]) != len(known[f"{KEY}token_type"]):
        raise UserError(
            f"{path}: {KEY}token_type must have a type for each of the "
            f"{len(known[f'{KEY}tokens']):,} tokens, but it has "
            f"{len(known[f'{KEY}token_type']):,}; try fetching that file again"
        )
    kind, pre = known.get(f"{KEY}model"), known.get(f"{KEY}pre", "gpt-2")
    if kind != "gpt2" or pre not in CUTS:
        raise UserError(
            f"{path}: tokenizer {kind} with pre={pre!r} must be gpt2 with one of "
            f"{', '.join(CUTS)}, because others cut words otherwise; try the safetensors "
            "of that model with its tokenizer.json"
        )
    tokens = known[f"{KEY}tokens"]
    merges = [tuple(merge.split(" ")) for merge in known.get(f"{KEY}merges", ())]
    model = {"ignore_merges": CUTS[pre].whole_first}
    try:
        fast = Tokenizer(models.BPE({token: n for n, token in enumerate(tokens)}, merges, **model))
    except Exception as error:  # the library raises no other
        raise UserError(
            f"{path} must hold a tokenizer whose merges are of its tokens, because text is cut by "
            f"them, but: {error}; try fetching it again"
        ) from error
    fast.decoder = decoders.ByteLevel()
    types = known[f"{KEY}token_type"]
    for token, kind in zip(tokens, types, strict=True):
        if kind == CONTROL:
            fast.add_special_tokens([AddedToken(token, special=True, normalized=False)])
        elif kind == ADDED:
            fast.add_tokens([AddedToken(token, special=False, normalized=False)])
    steps = [{**step, "trim_offsets": True} for step in CUTS[pre].steps]
    content = json.loads(fast.to_str())
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
    files = {
        "tokenizer.json": Tokenizer.from_str(json.dumps(content)).to_str(),
        "tokenizer_config.json": json.dumps(_config(known), indent=2),
    }
    # Files of one name and size may have other templates.
    digest = digest_of(*files.values())[:16]
    folder = local_cache("~/.cache/meshloom") / "gguf" / f"{path.stem}-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        durable.write(folder / name, text)
    return folder / "tokenizer.json"


def _config(known: Mapping[str, Any]) -> dict[str, Any]:
    """What a tokenizer_config.json says of it."""
    tokens = known[f"{KEY}tokens"]
    end = known[f"{KEY}eos_token_id"]
    ids = {
        "bos_token": known.get(f"{KEY}bos_token_id", end),
        "eos_token": end,
        "unk_token": known.get(f"{KEY}unknown_token_id"),
        "pad_token": known.get(f"{KEY}padding_token_id"),
    }
    template = known.get("tokenizer.chat_template")
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{role: tokens[id] for role, id in ids.items() if id is not None},
        "add_bos_token": bool(known.get(f"{KEY}add_bos_token", False)),
        **({"chat_template": template} if template else {}),
    }


def tokenizer_fields(files: TokenizerFiles, vocab_size: int) -> dict[str, Any]:
    """The fields of a file that has this tokenizer, for a model with that many tokens; ValueError
    for one that llama.cpp would read otherwise."""
    if files.content is None:
        raise UserError(
            f"data.tokenizer={files.name} must be a tokenizer.json, because a GGUF file holds its "
            "tokens and merges, but it is a SentencePiece model; try hf:DIRECTORY"
        )
    content = json.loads(files.content)
    model, pre = content["model"], _cut(files.name, content)
    names = {id: token for token, id in model["vocab"].items()}
    added = {token["id"]: token for token in content["added_tokens"]}
    names |= {id: token["content"] for id, token in added.items()}
    if not model["merges"]:
        raise UserError(
            f"data.tokenizer={files.name} must have merges, because a GGUF file has a list of them "
            "that is not empty; try hf:DIRECTORY, or a run with a tokenizer of `meshloom data "
            "tokenizer`"
        )
    if max(names) >= vocab_size:
        raise UserError(
            f"data.tokenizer={files.name} must have at most the {vocab_size:,} tokens of the model,"
            f" because a GGUF file has a row for each, but {names[max(names)]!r} has the id "
            f"{max(names):,}; try hf:DIRECTORY"
        )

    def kind(id: int) -> int:
        if id in added:
            return CONTROL if added[id]["special"] else ADDED
        return NORMAL if id in names else UNUSED

    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    template = files.chat_template
    return {
        f"{KEY}model": "gpt2",
        f"{KEY}pre": pre,
        f"{KEY}tokens": [names.get(id, f"[PAD{id}]") for id in range(vocab_size)],
        f"{KEY}token_type": [kind(id) for id in range(vocab_size)],
        f"{KEY}merges": merges,
        **{f"{KEY}{role}_token_id": id for role, id in files.special_ids.items()},
        f"{KEY}add_bos_token": files.adds_begin,
        f"{KEY}add_space_prefix": False,
        **({"tokenizer.chat_template": template.source} if template else {}),
    }


def _cut(name: str, content: Mapping[str, Any]) -> str:
    """What llama.cpp calls the way that a tokenizer.json cuts text; ValueError if it has none."""
    model, pre = content["model"], content.get("pre_tokenizer") or {}
    steps = [
        {key: value for key, value in step.items() if key != "trim_offsets"}
        for step in pre.get("pretokenizers", [pre])
    ]
    for field, right in (
        ("model", model["type"] == "BPE" and not model.get("byte_fallback")),
        ("normalizer", content.get("normalizer") is None),
        ("decoder", (content.get("decoder") or {}).get("type") == "ByteLevel"),
        ("continuing_subword_prefix", not model.get("continuing_subword_prefix")),
        ("end_of_word_suffix", not model.get("end_of_word_suffix")),
    ):
        if not right:
            raise UserError(
                f"data.tokenizer={name}: {field} must be that of a byte-level BPE, because "
                "llama.cpp reads others in ways of their own that are not written here; try "
                "hf:DIRECTORY"
            )
    whole_first = bool(model.get("ignore_merges"))
    for own, cut in CUTS.items():
        if steps == list(cut.steps) and whole_first == cut.whole_first:
            return own
    raise UserError(
        f"data.tokenizer={name}: pre_tokenizer must be that of {', '.join(CUTS)}, because llama.cpp"
        f" knows ways to cut words by name alone, but it is {json.dumps(pre)[:200]}; try "
        "hf:DIRECTORY"
    )
