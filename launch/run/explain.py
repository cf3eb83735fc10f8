"""Explaining: what a run's checkpoint looks at in a text, and which tokens its answer comes of."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import UserError
from data.rows.examples import framed
from data.tokenizer import Tokenizer
from launch.config import MeshConfig, RunConfig
from launch.run.saved import MovedTokenizer, open_saved
from model.explain import Explanation
from model.explain import explain as explain_row

LONGEST = 512
"""Tokens at most: the attention of all layers and heads is kept."""


class Explained(NamedTuple):
    """An explanation with its words. pieces: the text of each token; answer: what is explained."""

    pieces: list[str]
    answer: str
    numbers: Explanation

    @property
    def gap(self) -> float:
        """By how much the attributions miss the difference of the scores, as a share of it."""
        score, baseline = float(self.numbers.score), float(self.numbers.baseline)
        missed = abs(float(np.sum(self.numbers.attributions)) - (score - baseline))
        return missed / max(abs(score - baseline), 1e-12)


def explain(
    run: Path,
    text: str,
    *,
    config: RunConfig | None = None,
    step: int | None = None,
    data: MovedTokenizer = MovedTokenizer(),  # noqa: B008 - frozen
) -> Explained:
    """Why a checkpoint of the run, by default the latest, gives the text its likeliest label, or
    goes on with its likeliest token.

    Raises ValueError when there is no such run, or its model gives neither.
    """
    with open_saved(run, step, MeshConfig(), data, like=config) as saved:
        model, tokenizer = saved.state.evaluated, saved.tokenizer
        asked = saved.config.model.questions
        if tokenizer is None or asked not in (("labels",), ("next tokens",)):
            raise UserError(
                f"run={run} must be of a model that labels texts or goes on with them, because one "
                f"score is explained, but it is asked for {' '.join(asked) or 'something else'}; "
                "try `meshloom predict`, or a run of texts with model.head.kind=labels"
            )
        if not saved.config.model.attended.heads:
            raise UserError(
                f"run={run} must be of a model with attention, because that is what is shown, but "
                f"its family is {saved.config.model.kind}; try `meshloom predict` or `meshloom "
                "generate`"
            )
        labels = asked == ("labels",)
        row = _row(tokenizer, text, closed=labels)
        if len(row) > LONGEST:
            raise UserError(
                f"text must have at most {LONGEST} tokens, because the attention of all layers is "
                f"kept, but has {len(row):,}; try a shorter one"
            )
        mask = tokenizer.end.id if tokenizer.mask is None else tokenizer.mask
        known = saved.config.model.vocabulary or mask + 1
        hidden = row.copy()
        hidden[1 : len(row) - labels] = mask if mask < known else tokenizer.end.id
        scores = _scores(model, jnp.asarray(row[None]), labels=labels)
        best = int(np.argmax(scores))

        def score(model: Any, x: Any, segments: Any) -> Any:
            return _of(model, x, segments, labels=labels)[:, best]

        numbers = jax.jit(lambda m, text, start: explain_row(m, text, start, score))(
            model, jnp.asarray(row[None]), jnp.asarray(hidden[None])
        )
        answer = (
            f"label {saved.meta['names'][best]}"
            if labels
            else f"next token {tokenizer.decode_batch([[best]])[0]!r}"
        )
        return Explained(_pieces(tokenizer, row), answer, jax.device_get(numbers))


def _row(tokenizer: Tokenizer, text: str, *, closed: bool) -> np.ndarray:
    ids = np.asarray(tokenizer.encode_batch([text])[0], np.int32)
    if not len(ids):
        raise UserError("text='' must have a token, because tokens are explained; try a text")
    return (
        framed(tokenizer, [ids])[0]
        if closed
        else np.append(tokenizer.begin.id, ids).astype(np.int32)
    )


def _of(model: Any, x: Any, segments: Any, *, labels: bool) -> Any:
    """Scores [B, C] of the labels, or of the next token."""
    if labels:
        head = model.task_head
        return head.logits(head(head.pool(x, segments)))[:, 0]
    return model.logits(x[:, -1:])[:, 0]


def _scores(model: Any, tokens: Any, *, labels: bool) -> np.ndarray:
    segments = jnp.ones_like(tokens)
    run = jax.jit(lambda m, t: _of(m, m(t, None, segments), segments, labels=labels))
    return np.asarray(run(model, tokens))[0]


def _pieces(tokenizer: Tokenizer, row: np.ndarray) -> list[str]:
    """The text of each token; of those that stand for none, their name in brackets."""
    named = (tokenizer.end, tokenizer.begin)
    edges = {edge.id: f"[{edge.name.strip('[]<>')}]" for edge in named}
    return [edges.get(i) or tokenizer.decode_batch([[i]])[0] for i in row.tolist()]
