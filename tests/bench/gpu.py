"""One step of GPT-like models in bfloat16 on one GPU: `python -m tests.bench.gpu --size 1b7`.

Prints a JSON line: tokens/s, MFU (dense data-sheet peak, causal attention counted once), peak
memory and compile time. On a GPU it fails if the compiled step does not call cuDNN's attention.
Needs only jax, flax, optax and jaxtyping.
"""

import argparse
import json
import statistics
import time
from typing import Literal, NamedTuple, get_args

import jax
from jax.sharding import AxisType

from launch.process.progress import Progress
from model.families.decoder_config import DecoderConfig
from model.flops import flops_per_token, parameter_count
from model.sharding import AXES
from tests.bench.batch import random_batch
from train.config import OptimizerConfig, TrainConfig
from train.feed import local_rows, replicated, to_global
from train.guard.spikes import NO_CEILING
from train.report.throughput import device_peak
from train.state import init_state
from train.step import make_train_step

# cuDNN's fused attention, forward and backward, as XLA names its custom calls.
CUDNN_ATTENTION = "__cudnn$fmha"
Remat = Literal["none", "dots", "full", "offload"]


class GpuSize(NamedTuple):
    """One row: layers, widths, vocabulary, and the batch of one GPU."""

    layers: int
    width: int
    heads: int
    mlp: int
    vocabulary: int
    length: int
    batch: int


SIZES = {
    # The first row of Megatron-LM's README table, four sequences a GPU.
    "1b7": GpuSize(24, 2048, 16, 8192, 131_072, 4096, 4),
    # LLM-Foundry's row of MPT-1B, 14 sequences a GPU.
    "1b3": GpuSize(24, 2048, 16, 8192, 50_368, 2048, 14),
    "124m": GpuSize(12, 768, 12, 3072, 50_304, 1024, 64),
    "tiny": GpuSize(2, 64, 4, 256, 512, 64, 2),
}


def model_config(size: GpuSize, remat: Remat) -> DecoderConfig:
    """GPT-2's block with an untied head, in bfloat16, with this backend's best attention kernel."""
    config = DecoderConfig(
        vocab_size=size.vocabulary,
        num_layers=size.layers,
        embed_dim=size.width,
        num_heads=size.heads,
        num_kv_heads=size.heads,
        head_dim=size.width // size.heads,
        mlp_dim=size.mlp,
        max_length=size.length,
        tied_embedding=False,
        dtype="bfloat16",
        remat=remat,
    )
    return config.resolve(jax.default_backend())


def measure(
    size: GpuSize, *, remat: Remat, loss_chunk: int, steps: int, warmup: int, peak: float | None
) -> dict[str, object]:
    """The row's figures on the first device; `peak` in FLOP/s stands in for the device's own."""
    model = model_config(size, remat)
    train = TrainConfig(
        steps=1000,
        batch_size=size.batch,
        loss_chunk=loss_chunk,
        optimizer=OptimizerConfig(clip_norm=1.0, weight_decay=0.1),
    )

    def fresh():
        return init_state(model, train.optimizer, jax.random.key(0))

    state = jax.jit(fresh)()
    tokens = random_batch(size.batch, size.length, size.vocabulary)
    batch = to_global(tokens, local_rows(size.batch), size.batch)
    arguments = (batch, replicated(3e-4), replicated(NO_CEILING))
    began = time.perf_counter()
    step = make_train_step(train).lower(state, *arguments).compile()
    compile_seconds = time.perf_counter() - began
    cudnn = CUDNN_ATTENTION in (step.as_text() or "")
    assert cudnn or jax.default_backend() != "gpu", "the compiled step has no cuDNN attention"

    losses: list[float] = []
    waited: list[float] = []
    for _ in range(warmup + steps):
        began = time.perf_counter()
        state, metrics = step(state, *arguments)
        losses.append(float(metrics.loss))
        waited.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(steps):
        state, _ = step(state, *arguments)
    jax.block_until_ready(state)
    seconds = (time.perf_counter() - began) / steps

    device = jax.devices()[0]
    peak = peak or device_peak(device.device_kind)
    per_step = size.batch * size.length
    flops = flops_per_token(model, size.length) * per_step / seconds
    memory = (device.memory_stats() or {}).get("peak_bytes_in_use")
    return {
        "device": device.device_kind,
        "jax": jax.__version__,
        "batch": size.batch,
        "length": size.length,
        "parameters": parameter_count(model),
        "attention": model.attention,
        "cudnn_attention": cudnn,
        "remat": remat,
        "loss_chunk": loss_chunk,
        "step_ms": round(seconds * 1e3, 2),
        "step_ms_each_waited_for": round(statistics.median(waited[warmup:]) * 1e3, 2),
        "tokens_per_second": round(per_step / seconds),
        "tflops": round(flops / 1e12, 1),
        "mfu": round(flops / peak, 4) if peak else None,
        "peak_gib": round(memory / 2**30, 2) if memory else None,
        "compile_seconds": round(compile_seconds, 1),
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
    }


def main() -> None:
    """Read the flags, measure on the first device and print the JSON line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.gpu", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="1b7")
    parser.add_argument("--batch", type=_count, help="sequences in a step")
    parser.add_argument("--length", type=_count, help="tokens in a sequence")
    parser.add_argument("--remat", choices=get_args(Remat), default="none")
    parser.add_argument("--loss-chunk", type=_count, default=2048, help="tokens whose logits exist")
    parser.add_argument("--steps", type=_count, default=30)
    parser.add_argument("--warmup", type=_count, default=8)
    parser.add_argument("--peak", type=_peak, help="FLOP/s of the device, if it is not known")
    flags = parser.parse_args()
    size = SIZES[flags.size]
    size = size._replace(batch=flags.batch or size.batch, length=flags.length or size.length)
    mesh = jax.make_mesh(
        (1,) * len(AXES),
        AXES,
        axis_types=(AxisType.Explicit,) * len(AXES),
        devices=jax.devices()[:1],
    )
    with jax.set_mesh(mesh), Progress() as report:
        report(f"measuring {flags.size} on {jax.devices()[0].device_kind}")
        figures = measure(
            size,
            remat=flags.remat,
            loss_chunk=flags.loss_chunk,
            steps=flags.steps,
            warmup=flags.warmup,
            peak=flags.peak,
        )
    print(json.dumps({"size": flags.size, **figures}), flush=True)


def _count(text: str) -> int:
    # Not by launch.schema.bounds: a machine with GPUs need not have the parser that it reads.
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 2**24:
        raise argparse.ArgumentTypeError(f"{text} must be from 1 to {2**24}; try 8")
    return int(text)


def _peak(text: str) -> float:
    if not 1 <= (value := float(text)) <= 1e20:
        raise argparse.ArgumentTypeError(f"{text} must be from 1 to 1e20, as FLOP/s; try 989e12")
    return value


if __name__ == "__main__":
    main()
