"""The files of a tokenizer in an export: as they lie, with what servers ask for besides."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from etils import epath

from data import durable
from data.chat import ChatTemplate, read_chat_template
from data.special_tokens import KNOWN_ENDS, declared, folder_of
from data.tokenizer import ByteTokenizer, Tokenizer
from data.tokenizer_file import read

CONFIG, GENERATION, TEMPLATE = (
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
)
COMPANIONS = (
    *(CONFIG, GENERATION, TEMPLATE, "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt"),
)
"""Files next to a tokenizer that belong to it."""


@dataclass(frozen=True)
class TokenizerFiles:
    """A run's tokenizer as others read it.

    Bytes become the tokenizer.json of a byte-level BPE without merges, which has the same ids.
    """

    tokenizer: Tokenizer
    name: str
    """As in `data.tokenizer`."""
    generates: bool
    """Whether the model writes text, which begins and ends with its tokens."""
    length: int
    """Positions of the model."""

    @property
    def path(self) -> epath.Path | None:
        """Where it lies, which may be a bucket; None of bytes."""
        if isinstance(self.tokenizer, ByteTokenizer):
            return None
        return folder_of(self.name) / epath.Path(self.name).name

    @cached_property
    def content(self) -> str | None:
        """Its tokenizer.json; None of a SentencePiece model, and of bytes that are not written.

        Where no file says how text begins, it says that text begins as in training.
        """
        if self.path is None:
            content = _of_bytes() if self.generates else None
        else:
            is_json = self.path.suffix == ".json"
            content = read(self.name).decode() if is_json else None
        if content is None or not self.generates or self._beside(CONFIG):
            return content
        fields = json.loads(content)
        return content if fields.get("post_processor") else _begun(content, self.tokenizer.begin.id)

    @property
    def written(self) -> bool:
        """Whether `write` writes a tokenizer: bytes of a model that does not write text have no
        such form."""
        return self.path is not None or self.content is not None

    @property
    def adds_begin(self) -> bool:
        """Whether text begins with a token, as its files say; without any, as in training."""
        said = self._beside(CONFIG).get("add_bos_token")
        if isinstance(said, bool):
            return said
        return not self._beside(CONFIG) or self.tokenizer.begin != self.tokenizer.end

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """The tokens that begin, end and pad a text, by the words of GGUF."""
        begin, end = self.tokenizer.begin, self.tokenizer.end
        own = begin != end
        named = {role: self._named(f"{role}_token") for role in ("bos", "unk", "pad")}
        ids = {
            "bos": begin.id if own or named["bos"] is None else named["bos"],
            "eos": end.id,
            "unknown": named["unk"],
            "padding": named["pad"],
        }
        return {role: id for role, id in ids.items() if id is not None}

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """How turns of a conversation are written, if a file says."""
        return None if self.path is None else read_chat_template(self.name)

    def config_fields(self) -> dict[str, Any]:
        """What a config.json says of them."""
        if not self.generates:
            return {}
        ids = self.special_ids
        known = {"pad_token_id": ids["padding"]} if "padding" in ids else {}
        return {"bos_token_id": ids["bos"], "eos_token_id": ids["eos"], **known}

    def write(self, folder: Path) -> None:
        """Copy what lies there; write what lacks, so that `transformers` opens the folder."""
        if self.path is not None:
            (folder / f"tokenizer{self.path.suffix}").write_bytes(read(self.name))
            for path in (self.path.parent / name for name in COMPANIONS):
                if path.exists():
                    (folder / path.name).write_bytes(path.read_bytes())
        if self.content is not None:
            durable.write(folder / "tokenizer.json", self.content)
            fields = self._config()
            if "tokenizer_class" not in fields:
                fields = {"tokenizer_class": "PreTrainedTokenizerFast", **fields}
                durable.write(folder / CONFIG, json.dumps(fields, indent=2) + "\n")
        if self.generates and not (folder / GENERATION).exists():
            ids = self.special_ids
            said = self.config_fields()
            if (turn := self._end_of_turn()) not in (None, ids["eos"]):
                said["eos_token_id"] = [ids["eos"], turn]
            said["pad_token_id"] = ids.get("padding", ids["eos"])
            durable.write(folder / GENERATION, json.dumps(said, indent=2) + "\n")

    def _end_of_turn(self) -> int | None:
        template = self.chat_template
        return None if template is None else template.end_of_turn(self.tokenizer)

    def _config(self) -> Mapping[str, Any]:
        """The tokenizer_config.json."""
        if beside := self._beside(CONFIG):
            return beside
        begin, end = self._token(self.tokenizer.begin.id), self._token(self.tokenizer.end.id)
        fields: dict[str, Any] = {"model_max_length": self.length}
        if self.generates:
            return {**fields, "bos_token": begin, "eos_token": end, "add_bos_token": True}
        if self.tokenizer.mask is not None:
            fields["mask_token"] = self._token(self.tokenizer.mask)
        return {**fields, "cls_token": begin, "sep_token": end}

    def _beside(self, name: str) -> dict[str, Any]:
        return {} if self.path is None else declared(self.name, name)

    def _named(self, role: str) -> int | None:
        """The id of the token that the tokenizer_config.json has in a role."""
        value = self._beside(CONFIG).get(role)
        name = value.get("content") if isinstance(value, dict) else value
        return None if name is None or self.content is None else self._fast.token_to_id(name)

    def _token(self, id: int) -> str:
        return self._fast.id_to_token(id)

    @cached_property
    def _fast(self) -> Any:
        from tokenizers import Tokenizer as Fast

        return Fast.from_str(self.content or "")


def _of_bytes() -> str:
    """The tokenizer.json whose tokens are those of `ByteTokenizer`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = {byte: chr(byte) for byte in printable}
    characters |= {byte: chr(256 + number) for number, byte in enumerate(others)}
    fast = Tokenizer(models.BPE({characters[byte]: byte for byte in range(256)}, []))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens([AddedToken(KNOWN_ENDS[0], special=True, normalized=False)])
    return fast.to_str()


def _begun(content: str, begin: int) -> str:
    """A tokenizer.json that puts a token before a text."""
    from tokenizers import Tokenizer, processors

    fast = Tokenizer.from_str(content)
    name = fast.id_to_token(begin)
    fast.post_processor = processors.TemplateProcessing(
        single=[name, "$A"], special_tokens=[(name, begin)]
    )
    return fast.to_str(pretty=True)
