"""What the benchmarks compare is the same model, and they say what they measured."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro
from flax import nnx

import tests.bench.__main__ as bench
from launch.config import MeshConfig, RunConfig
from launch.presets.preset import preset
from launch.process import runtime
from launch.process.mesh import make_mesh
from launch.run.arguments import TrainOptions
from tests.bench import baseline, gpu, saving, startup, step, timing
from tests.bench.baseline import BaselineSizes
from tests.bench.batch import random_batch
from tests.bench.reference import make_reference, model_config
from tests.command import ROOT
from train.state import TrainState

SIZES = BaselineSizes(
    num_layers=2, embed_dim=16, num_heads=2, mlp_dim=32, vocab_size=300, length=16, batch=2
)


@pytest.fixture(autouse=True)
def single_device():
    with jax.set_mesh(make_mesh(MeshConfig(), jax.devices()[:1])):
        yield


def test_the_baseline_is_our_model():
    """With the baseline's parameters our step finds its loss and its gradient's norm."""
    state = baseline.init(SIZES, jax.random.key(1))
    params = state[0]
    batch = random_batch(SIZES.batch, SIZES.length, SIZES.vocab_size)
    tokens, targets = jnp.asarray(batch.tokens), jnp.asarray(batch.targets)
    gradient = jax.jit(jax.value_and_grad(baseline.loss_fn), static_argnums=3)
    with jax.numpy_rank_promotion("allow"):
        loss, grads = gradient(params, tokens, targets, SIZES.num_heads)
    norm = jnp.sqrt(sum(jnp.vdot(g, g) for g in jax.tree.leaves(grads)))

    ours = make_reference(SIZES)
    moved = with_parameters(ours.fresh_state(), params)
    _, metrics = ours.step(moved, ours.batch, ours.learning_rate, ours.ceiling)
    np.testing.assert_allclose(metrics.loss, loss, rtol=2e-6)
    np.testing.assert_allclose(metrics.grad_norm, norm, rtol=2e-6)


def with_parameters(state: TrainState, params: baseline.Tree) -> TrainState:
    """Our state with the baseline's parameters in it."""
    L, D, N = SIZES.num_layers, SIZES.embed_dim, SIZES.num_heads
    blocks = params["blocks"]
    w_qkv = blocks["qkv"]["w"].reshape(L, D, 3, N, -1)
    b_qkv = blocks["qkv"]["b"].reshape(L, 3, N, -1)
    model = state.model
    block = model.blocks
    assert model.position_table is not None and model.head is not None
    assert block.mlp_norm is not None
    values = [
        (model.embedding.table, params["tokens"]),
        (model.position_table.table, params["positions"]),
        (model.head.table, params["head"].T),
        (model.final_norm.scale, params["norm"]["scale"]),
        (model.final_norm.bias, params["norm"]["bias"]),
        (block.attention.w_o, blocks["out"]["w"].reshape(L, N, -1, D)),
        (block.attention.b_o, blocks["out"]["b"]),
        (block.mlp.w_up, blocks["up"]["w"]),
        (block.mlp.b_up, blocks["up"]["b"]),
        (block.mlp.w_down, blocks["down"]["w"]),
        (block.mlp.b_down, blocks["down"]["b"]),
    ]
    for i, name in enumerate("qkv"):
        values.append((getattr(block.attention, f"w_{name}"), w_qkv[:, :, i]))
        values.append((getattr(block.attention, f"b_{name}"), b_qkv[:, i]))
    for norm, name in ((block.attention_norm, "norm1"), (block.mlp_norm, "norm2")):
        values += [(norm.scale, blocks[name]["scale"]), (norm.bias, blocks[name]["bias"])]
    assert len(values) == len(jax.tree.leaves(model))
    for param, value in values:
        assert isinstance(param, nnx.Param) and param.shape == value.shape
        param[...] = jax.device_put(value, param[...].sharding)
    return state


@pytest.mark.long
def test_all_parts_but_startup_print_times_and_ratios(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Step, encoder, fit, input and saving run at a tiny size and name their bars."""
    parts = ("step", "encoder", "fit", "input", "saving")
    results = json.loads(
        json.dumps(bench.measure(tmp_path, SIZES, parts, rounds=2, steps=2, compare=None))
    )
    said = capsys.readouterr().err
    assert [part for part in parts if f"measuring {part}\n" in said] == list(parts)
    assert results["machine"]["jax"] == jax.__version__
    assert results["step"]["ratio"]["of_medians"] > 0 and results["step"]["bar"] == step.BAR
    flops = {name: row["mflop"] for name, row in results["encoder"].items() if name != "bar"}
    assert len(flops) == 5 and flops["encoder"] == flops["encoder, dropout 0.1"] > 0
    assert results["fit"]["fit"]["median_ms"] > 0 and results["fit"]["bare"]["min_ms"] > 0
    assert results["input"]["M tokens/s, 8 rows of 16"] > 0
    assert results["saving"]["ratio"] > 0 and results["saving"]["bar"] == saving.BAR


def test_startup_asks_for_the_reference_model():
    """The flags `meshloom train tiny` gets make the architecture of the other parts."""
    flags = startup.model_flags(SIZES)
    default = TrainOptions(run=preset("tiny"))
    parsed: RunConfig = tyro.cli(TrainOptions, args=flags, default=default).run
    assert parsed.model == model_config(SIZES)


def test_the_last_line_of_another_command_is_taken_or_its_error():
    """Another framework's command gives its figures, or its error with the command."""
    python = sys.executable
    assert step.last_json(f"""{python} -c 'print("warm"); print("{{\\"median_ms\\": 3}}")'""") == {
        "median_ms": 3
    }
    with pytest.raises(ValueError, match=r"compare=.* must run, because .* no torch.*; try"):
        step.last_json(f"{python} -c 'raise SystemExit(\"no torch\")'")


def test_calls_take_turns_after_a_warm_up():
    """Every call is made once untimed, then once a round."""
    order: list[str] = []
    seconds = timing.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_ratios_show_medians_minimums_and_rounds():
    """A slow round of both changes the ratio by round least."""
    assert timing.ratio([1.0, 2.0, 30.0], [2.0, 4.0, 10.0]) == {
        "of_medians": 0.5,
        "of_minimums": 0.5,
        "median_by_round": 0.5,
    }


def test_gpu_step_runs_anywhere_and_counts_as_the_field_does():
    """The tiny row runs on this backend; MFU uses 6 N plus causal attention counted once."""
    size = gpu.SIZES["tiny"]
    figures = gpu.measure(size, remat="none", loss_chunk=64, steps=1, warmup=1, peak=1e12)
    assert figures["attention"] == "blocked" and figures["cudnn_attention"] is False
    matrices = size.layers * (4 * size.width**2 + 2 * size.width * size.mlp)
    matrices += size.vocabulary * size.width
    flops = 6 * matrices + 6 * size.layers * size.width * size.length
    seconds = float(str(figures["step_ms"])) / 1e3
    expected = flops * size.batch * size.length / seconds / 1e12
    assert float(str(figures["mfu"])) == pytest.approx(expected, rel=0.1)


PROGRAMS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
    for folder in ("tests/bench", "tests/soak")
    for path in sorted((ROOT / folder).glob("*.py"))
    if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_benchmark_starts_a_tpu_that_is_not_there(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """By the time a benchmark reads its flags, jax is told to leave out libtpu."""
    for name in [name for name in sys.modules if name.startswith(("tests.bench", "tests.soak"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(runtime, "MAKERS", set())  # as on a machine without accelerators
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    with pytest.raises(SystemExit):
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    assert os.environ.pop("JAX_PLATFORMS", None) == "cpu"
    assert "usage: " in capsys.readouterr().out


def test_a_benchmark_prints_json_and_says_on_stderr_what_it_does():
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.store", "--tokens", "300000", "--rounds", "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)
    assert done.stderr == "reading a store of 300,000 tokens in 1 rounds\n"


def test_gpu_bench_needs_few_packages():
    """The GPU machine need not have the data and command-line packages."""
    code = "import sys, tests.bench.gpu; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"tyro", "grain", "tensorflow_datasets", "orbax", "tokenizers", "pyarrow"}
