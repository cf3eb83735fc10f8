"""Which tokens stand between documents: as a flag says, else as the tokenizer's own files declare.

Only special tokens count, as no text is encoded to them.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from data import system
from data.cache import is_remote
from data.errors import UserError

KNOWN_ENDS = (
    *("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<EOS>", "<|eos|>", "[EOS]"),
    *(
        "<\uff5cend\u2581of\u2581sentence\uff5c>",
        "<EOS_TOKEN>",
        "<|END_OF_TURN_TOKEN|>",
        "<|im_end|>",
        "[SEP]",
    ),
)
"""What published tokenizers call the end of a text, for a file that nothing else explains."""
SHOWN = 8


class Vocabulary(NamedTuple):
    """What a tokenizer's own file says of its tokens."""

    path: str
    special: Mapping[str, int]
    """Ids of the special tokens by their text."""
    before: Sequence[int]
    """Ids that its template puts before a text."""
    after: Sequence[int]
    """Ids that its template puts after a text."""
    ordinary: Mapping[str, int]
    """Ids of all other tokens."""


class Boundary(NamedTuple):
    """A token that stands at an edge of every document."""

    id: int
    name: str
    source: str
    """Which flag or file decides it; empty where there is no choice."""


def boundaries(
    tokens: Vocabulary, begin_token: str | None, end_token: str | None
) -> tuple[Boundary, Boundary]:
    """The tokens that begin and end every document; without a begin of its own, the end is both.

    Raises ValueError if there is no end, or if a declared token is missing or not special.
    """
    files = _Declarations(tokens)
    if end_token is not None:
        end = _flagged(tokens, "end", end_token)
    else:
        end = files.named("eos") or _template_end(tokens) or _known_end(tokens)
    if begin_token is not None:
        return _flagged(tokens, "begin", begin_token), end
    if files.adds_begin is None:
        return _template_begin(tokens) or end, end
    return files.begin() if files.adds_begin else end, end


class _Declarations:
    """The files that Hugging Face puts next to a tokenizer."""

    def __init__(self, tokens: Vocabulary) -> None:
        self._tokens = tokens
        self._config = self._read("tokenizer_config.json")
        self._map = self._read("special_tokens_map.json")
        self._generation = self._read("generation_config.json")

    def named(self, role: str) -> Boundary | None:
        """The token of a role (`eos` or `bos`) that the first file to declare it names."""
        for file, values in (
            ("tokenizer_config.json", self._config),
            ("special_tokens_map.json", self._map),
        ):
            value = values.get(f"{role}_token")
            name = value.get("content") if isinstance(value, dict) else value
            if name is not None:
                if not isinstance(name, str):
                    raise self._unfit(file, f"{role}_token", name, "a token's text")
                where = f" in {folder_of(self._tokens.path) / file}"
                id = _special(self._tokens, f"{role}_token", name, role, where)
                return Boundary(id, name, file)
        return self._generated(role)

    @property
    def adds_begin(self) -> bool | None:
        """Whether `add_bos_token` puts a token before a text; None where it is not said."""
        adds = self._config.get("add_bos_token")
        if not isinstance(adds, bool | None):
            raise self._unfit("tokenizer_config.json", "add_bos_token", adds, "true or false")
        return adds

    def begin(self) -> Boundary:
        """The token that `add_bos_token` puts before a text."""
        token = self.named("bos")
        if token is None:
            raise UserError(
                f"add_bos_token=true in the tokenizer_config.json of {self._tokens.path} must come "
                "with a bos_token, because documents begin with it, but none is declared; try "
                "--data.begin-token NAME"
            )
        return token

    def _generated(self, role: str) -> Boundary | None:
        value = self._generation.get(f"{role}_token_id")
        wanted = value if isinstance(value, list) else [] if value is None else [value]
        names = {id: name for name, id in self._tokens.special.items()}
        for id in wanted:
            if type(id) is not int:
                raise self._unfit("generation_config.json", f"{role}_token_id", id, "an id")
            if id in names:
                return Boundary(id, names[id], "generation_config.json")
        return None

    def _unfit(self, file: str, field: str, value: Any, what: str) -> UserError:
        return UserError(
            f"{field}={value!r} in {folder_of(self._tokens.path) / file} must be {what}, because "
            "it says which tokens begin and end a text; try repairing the file, or "
            "--data.begin-token and --data.end-token without it"
        )

    def _read(self, name: str) -> dict[str, Any]:
        return declared(self._tokens.path, name)


def added_tokens(path: str) -> dict[str, int]:
    """Ids of the special tokens that the tokenizer_config.json next to a tokenizer adds to it."""
    file = folder_of(path) / "tokenizer_config.json"
    tokens = declared(path, file.name).get("added_tokens_decoder", {})
    try:
        return {
            str(token["content"]): int(id) for id, token in tokens.items() if token.get("special")
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _damaged(file, f"its added_tokens_decoder is unfit ({error!r})") from error


def ends_of_generation(path: str) -> tuple[int, ...]:
    """Ids that end a text that is generated, as the generation_config.json next to a tokenizer
    lists them; none without that file."""
    value = declared(path, "generation_config.json").get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if any(type(id) is not int for id in ids):
        raise UserError(
            f"eos_token_id={value!r} in {folder_of(path) / 'generation_config.json'} must be an id "
            "or several, because a text ends with them; try repairing the file"
        )
    return tuple(ids)


def declared(path: str, name: str) -> dict[str, Any]:
    """The JSON object in the file of that name next to a tokenizer; empty if there is none."""
    file = folder_of(path) / name
    try:
        content = file.read_text() if file.exists() else "{}"
        values = json.loads(content)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, system.said(error)) from error
    if not isinstance(values, dict):
        raise _damaged(file, f"it holds a {type(values).__name__}")
    return values


def folder_of(path: str) -> epath.Path:
    """Where a tokenizer lies."""
    if is_remote(path) and not os.path.lexists(path):
        return epath.Path(path).parent
    return epath.Path(system.local_path("data.tokenizer", path).parent)


def _damaged(path: epath.Path, why: str) -> UserError:
    return UserError(
        f"{path} must be a readable JSON object, because it lies next to data.tokenizer and says "
        f"which tokens begin and end a text, but {why}; try repairing it or moving it away"
    )


def _flagged(tokens: Vocabulary, role: str, name: str) -> Boundary:
    flag = f"--data.{role}-token"
    return Boundary(_special(tokens, f"data.{role}_token", name, role), name, flag)


def _special(tokens: Vocabulary, field: str, name: str, role: str, where: str = "") -> int:
    if name in tokens.special:
        return tokens.special[name]
    is_ordinary = name in tokens.ordinary
    what = "text is encoded to it too" if is_ordinary else "it has no token of that name"
    flag = "--data.begin-token" if role in ("begin", "bos") else "--data.end-token"
    raise UserError(
        f"{field}={name!r}{where} must be a special token of data.tokenizer={tokens.path!r}, "
        f"because it separates documents, but {what}; {_advice(tokens, flag)}"
    )


def _advice(tokens: Vocabulary, flag: str) -> str:
    if not tokens.special:
        return "it has no special token at all; try `meshloom data tokenizer` to make one that does"
    names = list(tokens.special)
    more = f" or another of its {len(names)}" if len(names) > SHOWN else ""
    return f"try {flag} with {' or '.join(map(repr, names[:SHOWN]))}{more}"


def _template_begin(tokens: Vocabulary) -> Boundary | None:
    if len(tokens.before) > 1:
        raise UserError(
            f"data.tokenizer={tokens.path!r} must put at most one token before a text, because a "
            f"document begins with one, but its template puts {len(tokens.before)}; "
            f"{_advice(tokens, '--data.begin-token')}"
        )
    return _from_template(tokens, tokens.before)


def _template_end(tokens: Vocabulary) -> Boundary | None:
    return _from_template(tokens, tokens.after) if len(tokens.after) == 1 else None


def _from_template(tokens: Vocabulary, ids: Sequence[int]) -> Boundary | None:
    names = {id: name for name, id in tokens.special.items()}
    if ids and ids[0] not in names:
        ordinary = {id: name for name, id in tokens.ordinary.items()}
        name = ordinary.get(ids[0], str(ids[0]))
        flag = "--data.begin-token" if ids is tokens.before else "--data.end-token"
        raise UserError(
            f"{name!r}, which the template of data.tokenizer={tokens.path!r} puts next to a text, "
            "must be a special token, because it separates documents, but text is encoded "
            f"to it too; {_advice(tokens, flag)}"
        )
    return Boundary(ids[0], names[ids[0]], "its template") if ids else None


def _known_end(tokens: Vocabulary) -> Boundary:
    for name in KNOWN_ENDS:
        if name in tokens.special:
            return Boundary(tokens.special[name], name, "its name")
    raise UserError(
        f"data.tokenizer={tokens.path!r} must have a token that ends a document, because documents "
        "are joined into one stream, but no file next to it declares one and no special token has "
        f"a known name; {_advice(tokens, '--data.end-token')}"
    )
