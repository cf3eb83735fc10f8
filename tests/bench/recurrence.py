"""`python -m tests.bench.recurrence`: a recurrent layer's gradient and a language model's whole
step next to torch's, in turns (needs torch next to this repository's packages)."""

import functools
import json
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval

from launch.process import runtime
from launch.run.build import fresh_state
from launch.schema.command_line import run_module
from model.families.recurrent_config import RecurrentConfig
from model.recurrence import Recurrence, begins
from model.weights import param
from tests.bench import timing
from tests.bench.batch import random_batch
from tests.models import mesh_of, placed
from train.config import OptimizerConfig, TrainConfig
from train.step import make_train_step

V = 264


def main(
    batch: Annotated[int, Interval(ge=1, le=4096)] = 32,
    length: Annotated[int, Interval(ge=1, le=4096)] = 128,
    width: Annotated[int, Interval(ge=1, le=4096)] = 256,
    rounds: Annotated[int, Interval(ge=1, le=10_000)] = 9,
) -> None:
    """Print milliseconds and ratios for both cells.

    Args:
        batch: Rows.
        length: Tokens of a row.
        width: Of embeddings and layers.
        rounds: Rounds in which the two take turns.
    """
    import torch  # pyright: ignore[reportMissingImports]

    runtime.keep_freed_memory()
    torch.set_num_threads(2)
    results: dict[str, Any] = {}
    with jax.set_mesh(mesh_of()):
        for kind in ("lstm", "gru"):
            parts = {
                "gradient": (ours_gradient, theirs_gradient),
                "whole step": (ours_step, theirs_step),
            }
            for name, (ours, theirs) in parts.items():
                calls = {
                    "ours": ours(kind, batch, length, width),
                    "torch": theirs(kind, batch, length, width),
                }
                seconds = timing.in_turns(calls, rounds)
                results[f"{kind} {name}"] = {
                    **{each: timing.milliseconds(own) for each, own in seconds.items()},
                    "ratio": timing.ratio(seconds["ours"], seconds["torch"]),
                }
    print(json.dumps(results, indent=2))


def ours_gradient(kind: str, B: int, T: int, H: int) -> Any:
    layer = Recurrence(param, jax.random.key(0), H, H, kind=kind)
    begin = begins(jnp.ones((B, T), jnp.int32), reverse=False)
    x = jax.random.normal(jax.random.key(1), (T, B, H))

    @functools.partial(jax.grad, argnums=(0, 1))
    def gradient(layer: Any, x: Any) -> Any:
        return jnp.sum(jnp.square(layer(x, begin)[0]))

    step = jax.jit(gradient)
    return lambda: jax.block_until_ready(step(layer, x))


def theirs_gradient(kind: str, B: int, T: int, H: int) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    layer = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](H, H, batch_first=True)
    x = torch.randn(B, T, H, requires_grad=True)

    def run() -> None:
        layer.zero_grad()
        layer(x)[0].square().sum().backward()

    return run


def ours_step(kind: str, B: int, T: int, H: int) -> Any:
    config: Any = RecurrentConfig(
        cell=kind,  # pyright: ignore[reportArgumentType]
        vocab_size=V,
        num_layers=2,
        embed_dim=H,
        hidden_dim=H,
        dtype="float32",
    )
    optimizer = OptimizerConfig(learning_rate=1e-3, warmup_steps=0)
    train = TrainConfig(steps=10**6, batch_size=B, loss_chunk=B * T, optimizer=optimizer)
    state = [jax.jit(fresh_state(config, train))()]
    batch = placed(random_batch(B, T, V, packed=True))
    step, ceiling = make_train_step(train), np.full(2, np.inf, np.float32)

    def run() -> None:
        state[0], metrics = step(state[0], batch, np.float32(1e-3), ceiling)
        jax.block_until_ready(metrics)

    return run


def theirs_step(kind: str, B: int, T: int, H: int) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    table = torch.nn.Embedding(V, H)
    layers = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](H, H, 2, batch_first=True)
    weights = [*table.parameters(), *layers.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3)
    tokens = torch.randint(0, V, (B, T + 1))

    def run() -> None:
        optimizer.zero_grad()
        x = layers(table(tokens[:, :-1]))[0]
        scores = x @ table.weight.T
        loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()

    return run


if __name__ == "__main__":
    run_module(main, "tests.bench.recurrence")
