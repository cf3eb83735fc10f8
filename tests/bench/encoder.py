"""An encoder's step next to a decoder's of the same sizes, in turns, by the products that each
runs."""

from dataclasses import replace

import jax

from launch.plan.program.compiled import work_in
from launch.plan.program.hlo import Program
from model.families.encoder_config import EncoderConfig
from tests.bench import timing
from tests.bench.baseline import BaselineSizes
from tests.bench.batch import masked_batch, random_batch
from tests.bench.reference import Reference, make_reference, model_config, reference_of
from tests.bench.step import timed

SCORED = 0.15
"""Share of the places of a row that an encoder predicts."""
BAR = 1.05
YARDSTICK = "decoder, all scores"


def measure(sizes: BaselineSizes, rounds: int) -> dict[str, object]:
    """Step times in milliseconds, FLOPs of the products in the compiled programs, and the time of
    a step of as many FLOPs as a share of the decoder's that makes all scores, as encoders must."""
    batch = random_batch(sizes.batch, sizes.length, sizes.vocab_size, packed=True)
    all_scores = replace(model_config(sizes), attention="xla")
    steps = {
        YARDSTICK: reference_of(all_scores, batch),
        "decoder, later keys skipped": make_reference(sizes, packed=True),
    }
    for name, changes in {
        "encoder": {"norm_place": "before"},
        "encoder, norms after sums": {"norm_place": "after"},
        "encoder, dropout 0.1": {"norm_place": "before", "dropout": 0.1},
    }.items():
        steps[name] = encoder(sizes, **changes)
    seconds = timing.in_turns({name: timed(step) for name, step in steps.items()}, rounds)
    flops = {name: products(step) for name, step in steps.items()}
    result: dict[str, object] = {"bar": BAR}
    for name, own in seconds.items():
        share = timing.ratio(own, seconds[YARDSTICK])
        equal = {of: round(s * flops[YARDSTICK] / flops[name], 4) for of, s in share.items()}
        result[name] = {
            **timing.milliseconds(own),
            "mflop": round(flops[name] / 1e6, 3),
            "of equal FLOPs": equal,
        }
    return result


def encoder(sizes: BaselineSizes, **changes: object) -> Reference:
    """The step of an encoder of these sizes, which predicts `SCORED` of its tokens."""
    like = model_config(sizes)
    model = EncoderConfig(
        vocab_size=like.vocab_size,
        num_layers=like.num_layers,
        embed_dim=like.embed_dim,
        num_heads=like.num_heads,
        head_dim=like.head_dim,
        mlp_dim=like.mlp_dim,
        max_length=like.max_length,
        activation=like.activation,
        **{"dropout": 0.0, **changes},
    )
    scored = round(SCORED * sizes.length)
    return reference_of(model, masked_batch(sizes.batch, sizes.length, sizes.vocab_size, scored))


def products(reference: Reference) -> float:
    """FLOPs of the products of the compiled step, trips of loops counted."""
    assert isinstance(reference.step, jax.stages.Compiled)
    text, sizes = reference.step.as_text(), dict(jax.sharding.get_abstract_mesh().shape)
    assert text is not None
    return work_in(Program(text), sizes).work.matmul_flops
