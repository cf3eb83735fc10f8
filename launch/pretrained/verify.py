"""Verifying an export: what `transformers` computes from it, next to what the model says."""

import contextlib
import dataclasses
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Int

from data.errors import UserError
from data.tokenizer import Tokenizer
from launch.process.distributed import from_first_process
from model.sharding import axis_size, spec

FAR = 1e-4
"""Distance that is too large, as a share of the largest score; sums of float32 in another order
were up to 3e-5 apart."""
LENGTH = 32
SAMPLE = "As 12 tokens, or 13: it isn't naïve,\n\tbut “quoted”, 100 %."
"""What both tokenizers cut."""


class Verified(NamedTuple):
    """How far what `transformers` says is from what the model says."""

    distance: float
    """The largest, as a share of the largest score."""
    inputs: str
    """What it was asked, in words."""


def require_transformers() -> None:
    """Raise ValueError if what verifies is not installed."""
    lacking = [n for n in ("torch", "transformers") if importlib.util.find_spec(n) is None]
    if lacking:
        raise UserError(
            f"verify=True must come with torch and transformers, because they compute what is "
            f"compared, but {' and '.join(lacking)} cannot be imported; try: pip install torch "
            "transformers, or without --verify"
        )


def verify_export(model: Any, folder: Path, tokenizer: Tokenizer | None) -> Verified:
    """Compare the scores of an exported folder with those of the model, its weights rounded as
    they are there, both in float32, and the ids of a text if a tokenizer lies there.

    All processes take part, and the first runs `transformers`. Raises ValueError if they differ.
    """
    rows = asked_rows(model.config, tokenizer)
    dtype = from_first_process(lambda: json.loads((folder / "config.json").read_text())["dtype"])
    ours = scores(exact(model, dtype), rows)

    def distance() -> str:
        with _opening(folder):
            theirs = _theirs(folder, model.config.head.kind, rows)
        return str(float(np.abs(theirs - ours).max() / np.abs(ours).max()))

    asked = f"{rows.size} tokens" if rows.ndim == 2 else f"{len(rows)} images"
    verified = Verified(float(from_first_process(distance)), asked)
    if not verified.distance < FAR:
        raise UserError(
            f"verify=True must find the same scores, because the export is to be trusted, but "
            f"those of transformers are {verified.distance:.1e} of the largest away, where less "
            f"than {FAR:g} is right; try another --model-type"
        )
    if tokenizer is not None:
        from_first_process(lambda: _require_same_ids(folder, tokenizer))
    return verified


def exact(model: Any, dtype: str) -> Any:
    """The model with its weights rounded to a type, that computes in float32."""
    kernel = {"attention": "xla"} if model.config.kernel else {}
    config = dataclasses.replace(model.config, dtype="float32", **kernel)
    shell = jax.eval_shape(lambda: config.build(jax.random.key(0)))
    leaves = [leaf.astype(dtype).astype(jnp.float32) for leaf in jax.tree.leaves(model)]
    return jax.tree.unflatten(jax.tree.structure(shell), leaves)


def scores(model: Any, rows: np.ndarray) -> np.ndarray:
    """What the head of a model says of rows of tokens, or of images, on every host: of each token,
    or of each row where it pools; the hidden states of one that embeds. Padding of the vocabulary
    is left out."""
    axes = ("batch", "length") if rows.ndim == 2 else ("batch", *[None] * (rows.ndim - 1))
    sharding = NamedSharding(jax.sharding.get_mesh(), spec(*axes))
    tokens = jax.make_array_from_callback(rows.shape, sharding, rows.__getitem__)
    with jax.default_matmul_precision("highest"):
        whole = multihost_utils.process_allgather(jax.jit(_scores)(model, tokens), tiled=True)
    config = model.config
    return whole[..., : config.vocab_size] if config.head.kind == "language" else whole


def _scores(
    model: Any, tokens: Int[Array, "B T"] | Float[Array, "B H W C"]
) -> Float[Array, "B *T O"]:
    config = model.config
    # What writes with a source in view is given the row turned round.
    x = model(tokens, tokens[:, ::-1]) if config.kind == "encoder_decoder" else model(tokens)
    match config.head.kind:
        case "embedding":
            return x
        case "labels":
            head = model.task_head
            real = jnp.ones_like(tokens) if tokens.ndim == 2 else None
            return head.logits(head(head.pool(x, real)))[:, 0]
        case "tags" | "span":
            return model.task_head.logits(model.task_head(x))
    if config.generates or config.kind == "encoder_decoder":
        return model.logits(x)
    x, table, bias = model.task_head(x), model.output_table[...], model.task_head.bias[...]
    by_token = spec("batch", "length", "vocab")
    return jnp.einsum("BTD,VD->BTV", x, table, out_sharding=by_token) + bias[None, None]


def asked_rows(config: Any, tokenizer: Tokenizer | None) -> np.ndarray:
    """Rows of tokens, none of which means anything but itself, int32 [B, T], or noise as images,
    float32 [B, H, W, C]."""
    count = max(2, axis_size("batch"))
    if config.vocabulary is None:
        size = getattr(config, "image_size", None) or (2 * config.reduction,) * 2
        shape = (count, *size, config.channels_read)
        return np.random.default_rng(0).normal(size=shape).astype(np.float32)
    special = set() if tokenizer is None else tokenizer.special
    special = {*special, getattr(config, "first_position", 0) - 1}
    ids = np.array([id for id in range(config.vocab_size) if id not in special], np.int32)
    length = min(LENGTH, config.max_length) // axis_size("length") * axis_size("length")
    return np.random.default_rng(0).choice(ids, (count, length))


@contextlib.contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """What `transformers` raises becomes an error that says so."""
    try:
        yield
    except (ValueError, RuntimeError, OSError, KeyError, AttributeError, ImportError) as error:
        raise UserError(
            f"verify=True must find an export that transformers opens, because others will, but it "
            f"refuses {folder.name}: {type(error).__name__}: {error}; try another version of it, "
            "or without --verify"
        ) from error


def _theirs(folder: Path, kind: str, rows: np.ndarray) -> np.ndarray:
    """The same as `scores`, by `transformers`."""
    import torch  # pyright: ignore[reportMissingImports]
    import transformers  # pyright: ignore[reportMissingImports]

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    name = json.loads((folder / "config.json").read_text())["architectures"][0]
    images = rows.ndim == 4
    # Models of words and ViT have a pooler that a head may leave out, DINOv2 has none.
    pools = kind == "embedding" and not name.startswith("Dinov2")
    bare = {"add_pooling_layer": False} if pools else {}
    # Not loaded in less, which would round constants of the model too.
    exact = {"dtype": torch.float32, "attn_implementation": "eager"}
    model = getattr(transformers, name).from_pretrained(folder, **exact, **bare).eval()
    with torch.no_grad():
        dtype = torch.float32 if images else torch.long
        ids = [torch.tensor(row[None], dtype=dtype) for row in rows]
        ids = [row.permute(0, 3, 1, 2) for row in ids] if images else ids
        reads = model.config.is_encoder_decoder
        said = [model(row, decoder_input_ids=row.flip(1)) if reads else model(row) for row in ids]
    if kind == "embedding":
        parts = [each.last_hidden_state for each in said]
    elif kind == "span":
        parts = [torch.stack([each.start_logits, each.end_logits], -1) for each in said]
    else:
        parts = [each.logits for each in said]
    return torch.cat(parts).numpy()


def _require_same_ids(folder: Path, tokenizer: Tokenizer) -> str:
    if not (folder / "tokenizer_config.json").exists():
        return ""
    import transformers  # pyright: ignore[reportMissingImports]

    with _opening(folder):
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        ids = theirs(SAMPLE, add_special_tokens=False)["input_ids"]
    own = tokenizer.encode_batch([SAMPLE])[0].tolist()
    if ids != own:
        raise UserError(
            f"verify=True must find the same tokens, because the model learnt their ids, but "
            f"transformers cuts {SAMPLE!r} into {ids}, not {own}; try naming another "
            "tokenizer_class in the tokenizer_config.json next to the tokenizer"
        )
    return ""
