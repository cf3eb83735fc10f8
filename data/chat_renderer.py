"""The program that renders chat templates, in a process of its own whose memory and seconds the
system limits: what a template multiplies, pads or repeats cannot be seen beforehand.

It reads a request as JSON and answers with texts, or with why there are none. Where the system
limits no memory (macOS), the seconds alone bound what can be filled.
"""

import datetime
import json
import resource
import sys
from collections.abc import Sequence
from typing import Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY = 512 * 2**20  # bytes, of which Python and Jinja take a tenth
SECONDS = 2  # of computing
LONGEST = 2**22  # characters of a text
REASON = 300  # characters of an error


class TooLong(Exception):
    """A template wrote more than it may."""


class GenerationBlock(Extension):
    """`{% generation %}`, by which templates mark what an assistant wrote, for training."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's name

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The `texts` of a template, one for each of the request's `variables`; or an `error`."""
    try:
        template = environment().from_string(request["template"])
        return {"texts": [_text(template.generate(**each)) for each in request["variables"]]}
    except TemplateSyntaxError as error:
        return {"error": f"its line {error.lineno} is no template ({_short(error.message)})"}
    except TooLong:
        return {"error": f"it writes more than {LONGEST:,} characters"}
    except MemoryError:
        return {"error": f"it takes more than {MEMORY >> 20} MiB of memory"}
    except TemplateError as error:
        return {"error": f"it raises: {_short(error.message)}"}
    except Exception as error:  # whatever a template's expression raises
        return {"error": f"it raises {type(error).__name__}: {_short(str(error))}"}


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja as `transformers` 5 sets it up for chat templates."""
    jinja = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    jinja.filters["tojson"] = _to_json
    jinja.globals["raise_exception"] = _raise
    jinja.globals["strftime_now"] = _now
    return jinja


def _text(pieces: Any) -> str:
    written, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > LONGEST:
            raise TooLong
        written.append(piece)
    text = "".join(written)
    text.encode()  # what is no text is an error here, with its reason
    return text


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Sequence[str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON that is not escaped for HTML, as Jinja's own filter does."""
    pair = None if separators is None else (separators[0], separators[1])
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=pair, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _short(message: str | None) -> str:
    words = " ".join((message or "")[: 2 * REASON].split())
    return words if len(words) <= REASON else f"{words[:REASON]}..."


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


if __name__ == "__main__":
    _limit()
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
