"""The command `meshloom explain`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from data.fields import Whole
from launch.run.saved import MovedTokenizer
from launch.schema.command_line import UsageError, parse


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """Show what a run's checkpoint looks at in a text: attention, its rollout, and how much each
    token adds to the answer."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory."""
    text: str
    """The text."""
    output: Path = Path("explanation.html")
    """File to write: .html, one page with everything, or .png, a picture."""
    step: Whole | None = None
    """Checkpoint to read; the latest by default."""
    data: MovedTokenizer = field(default_factory=MovedTokenizer)
    """Where its tokenizer is now."""


def main(arguments: list[str]) -> None:
    """Write the page or picture, and print each token's part of the score."""
    options = parse(ExplainOptions, arguments, prog="meshloom explain")
    if options.output.suffix not in (".html", ".png"):
        raise UsageError(
            f"output={options.output} must end in .html or .png, because the ending says what is "
            "written; try another name"
        )
    from data.tokenizer import visible
    from launch.run.explain import explain
    from launch.run.explain_page import summary, write_page, write_picture

    explained = explain(options.run, options.text, step=options.step, data=options.data)
    for piece, value in zip(explained.pieces, explained.numbers.attributions, strict=True):
        print(f"{float(value):+10.4f}  {visible(piece)}")
    print(summary(explained))
    if options.output.suffix == ".png":
        write_picture(explained, options.output)
    else:
        write_page(explained, f"Explanation of {options.text[:60]!r}", options.output)
    print(f"wrote {options.output}")
