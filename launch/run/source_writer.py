"""Writing of sources: each text is read whole, and another is written of it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from data.tokenizer import Tokenizer
from launch.run.text_generator import TextGenerator, Written, placed_rows
from model.families.encoder_decoder_writing import with_source
from model.generate import require_positions

_with_source = jax.jit(with_source)


def write_of_sources(
    model: Any,
    tokenizer: Tokenizer,
    sources: Sequence[str],
    generator: Callable[[Any], TextGenerator],
    key: jax.Array,
    on_text: Callable[[str], None] | None = None,
) -> Written:
    """What an encoder-decoder writes of each source; `generator` makes what writes with a model,
    and `on_text` gets a line's end and the pieces of the first text.

    Raises ValueError when the model's positions end.
    """
    ids = [np.append(part, tokenizer.end.id) for part in tokenizer.encode_batch(list(sources))]
    require_positions(model.config, max(map(len, ids)), 0)
    reader = _with_source(model, *placed_rows(tokenizer, ids))
    if on_text is not None:
        on_text("\n")
    begins, nothing = np.array([tokenizer.begin.id]), np.array([], np.int64)
    count = len(sources)
    written = generator(reader).write(
        [begins] * count, key, before=[nothing] * count, on_text=on_text
    )
    return written._replace(apart=True)
