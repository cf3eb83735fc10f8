"""The command `meshloom generate`."""

import json
import re
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from annotated_types import Interval

from data.fields import Whole
from launch.commands.beam_options import BeamOptions
from launch.commands.sampling_options import SamplingOptions
from launch.config import MeshConfig
from launch.run.saved import MovedTokenizer
from launch.schema.command_line import parse

if TYPE_CHECKING:
    from model.beams import Beams
    from model.sampling import Sampling

DRAWING = ("temperature", "top_k", "top_p", "repetition_penalty", "seed", "samples")
"""Options that have no meaning with beams."""


@dataclass(frozen=True, kw_only=True)
class GenerateOptions(SamplingOptions, BeamOptions):
    """Let a run's checkpoint continue prompts."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Text to continue, or to write another of if the model is an encoder-decoder; may be given
    again. Without one, a document begins."""
    chat: bool = False
    """Take each prompt for what a user says, by the chat template of the tokenizer, and write the
    answer."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    tokens: Annotated[int, Interval(ge=1, le=10**6)] = 200
    """Tokens to write at most."""
    samples: Annotated[int, Interval(ge=1, le=10_000)] = 1
    """Continuations to write of each prompt."""
    format: Literal["text", "json"] = "text"
    """Text to read, the prompt first; or a JSON object a line, with `prompt`, `text`, `tokens`, how
    many were drawn, and `ended`, by what: `end`, `stop` or `length`."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer is now."""
    mesh: MeshConfig = field(default_factory=MeshConfig)
    """The devices, which need not be those of the training."""

    def decoding(self) -> "Sampling | Beams":
        """How tokens are chosen; ValueError for an option of drawing with beams."""
        from launch.run.generate import require_undrawn

        beams = self.search()
        if beams is None:
            return self.sampling()
        usual = {each.name: each.default for each in fields(self)}
        require_undrawn(beams.count, {name: getattr(self, name) for name in DRAWING}, usual)
        return beams


def main(arguments: list[str]) -> None:
    """Print prompts with their continuations, a single one as it is written."""
    options = parse(GenerateOptions, arguments, prog="meshloom generate")
    import jax

    from data.tokenizer import visible
    from launch.run.generate import write_on

    prompts = [text for text in options.prompt or ("",) for _ in range(options.samples)]
    streams = len(prompts) == 1 and options.format == "text"
    shown = "" if options.chat else visible(prompts[0])

    def on_text(piece: str) -> None:
        nonlocal shown
        if jax.process_index() == 0:
            print(shown + visible(piece), end="", flush=True)
        shown = ""

    written = write_on(
        options.run,
        prompts,
        step=options.step,
        tokens=options.tokens,
        sampling=options.decoding(),
        stops=options.stop,
        chat=options.chat,
        seed=options.seed,
        data=options.data,
        mesh=options.mesh,
        on_text=on_text if streams else None,
    )
    if jax.process_index() != 0:
        return
    if streams:
        print(shown)
    for number, (prompt, each) in enumerate(zip(prompts, written.continuations, strict=True)):
        if options.format == "json":
            print(_json({"prompt": prompt, **each._asdict()}))
        elif not streams:
            print(f"--- {number + 1} of {len(prompts)}")
            apart = "\n" if written.apart else ""
            print(("" if options.chat else visible(prompt) + apart) + visible(each.text))
    print(written.speed, file=sys.stderr)


def _json(values: dict[str, Any]) -> str:
    """One line, which no terminal obeys: JSON itself escapes what is below a blank."""
    line = json.dumps(values, ensure_ascii=False)
    return re.sub("[\x7f-\x9f]", lambda match: f"\\u{ord(match[0]):04x}", line)
