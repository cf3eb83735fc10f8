"""The choice of a kernel, and each against the formula on every kind of mask that it serves."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import model.attention.splash
from model.attention.kernels import KERNELS, attend, choose_kernel
from model.attention.mask import Mask, MaskKind
from tests.families import QUICK
from tests.masks import KINDS, seen, small_mask, softmax_attention
from tests.models import mesh_of

N, K, H = 4, 2, 4
CAUSAL, BIDIRECTIONAL = MaskKind(causal=True), MaskKind(causal=False)
SPLASH = [kind for kind in KINDS if kind.causal and not (kind.prefix or kind.separate_keys)]
chosen = functools.partial(choose_kernel, dtype="bfloat16", head_dim=64, masks=[CAUSAL])


@functools.cache
def program(kernel: str, kind: MaskKind) -> Any:
    """Output and gradients, compiled once for a kind of mask where single operations are slow."""

    def run(arrays: tuple[np.ndarray, ...], mask: Mask) -> tuple[jax.Array, ...]:
        y, back = jax.vjp(lambda q, k, v: attend(q, k, v, mask, kernel), *arrays[:3])
        return (y, *back(jnp.asarray(arrays[3])))

    return run if kernel == "xla" else jax.jit(run, compiler_options=QUICK)


def require_the_formula(kernel: str, kind: MaskKind, seed: int) -> None:
    """Queries that see nothing are left out."""
    mask, rng = small_mask(kind, seed), np.random.default_rng(seed)
    visible = seen(mask)
    B, T, S = visible.shape
    shapes = ((B, T, N, H), (B, S, K, H), (B, S, K, H), (B, T, N, H))
    q, k, v, dy = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    some = np.any(visible, axis=-1)[:, :, None, None]
    dy = np.where(some, dy, np.float32(0))
    with jax.set_mesh(mesh_of()):
        y, *gradients = program(kernel, kind)((q, k, v, dy), mask)
    wanted = softmax_attention(q, k, v, dy, visible)
    for ours, formula in zip((np.where(some, y, 0), *gradients), wanted, strict=True):
        np.testing.assert_allclose(ours, formula, rtol=1e-5, atol=1e-5)


# Sampled, as each kind is a program of its own.
@pytest.mark.parametrize(("kernel", "examples"), [("xla", 30), ("blocked", 8)])
def test_values_and_gradients_are_those_of_the_formula(kernel: str, examples: int) -> None:
    @given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=examples)
    def agrees(kind: MaskKind, seed: int) -> None:
        require_the_formula(kernel, kind, seed)

    agrees()


@pytest.mark.parametrize("kind", SPLASH, ids=str)
def test_splash_is_the_formula_too(kind: MaskKind, monkeypatch: pytest.MonkeyPatch) -> None:
    interpreted = functools.partial(model.attention.splash.splash_attention, interpret=True)
    monkeypatch.setattr(model.attention.splash, "splash_attention", interpreted)
    require_the_formula("splash", kind, seed=1)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in SPLASH], ids=str)
def test_splash_refuses_a_mask_that_it_does_not_serve(kind: MaskKind) -> None:
    words = rf"attention=splash must have a causal mask.*this mask is {kind}; try --model.attention"
    with pytest.raises(ValueError, match=words):
        choose_kernel("splash", dtype="float32", head_dim=8, masks=[CAUSAL, kind], backend="tpu")
    q = jnp.zeros((2, 8, 2, 8))
    with pytest.raises(ValueError, match=words):
        attend(q, q, q, small_mask(kind, 0), "splash")


@pytest.mark.parametrize("backend", ["cpu", "gpu", "tpu", "another"])
def test_auto_takes_what_serves_every_mask(backend: str) -> None:
    for kind in KINDS:
        kernel = chosen("auto", masks=[CAUSAL, kind], backend=backend)
        assert KERNELS[kernel].serves(kind) and KERNELS[kernel].serves(CAUSAL)
        assert chosen(kernel, masks=[CAUSAL, kind], backend=backend) == kernel


def test_a_bidirectional_mask_on_the_cpus_own_choice_sees_later_keys() -> None:
    kernel = choose_kernel(
        "auto", dtype="float32", head_dim=H, masks=[BIDIRECTIONAL], backend="cpu"
    )
    for kind in (BIDIRECTIONAL, MaskKind(causal=False, segments=True)):
        require_the_formula(kernel, kind, seed=0)


@pytest.mark.parametrize(
    ("kernel", "device", "backend"),
    [
        ("cudnn", "GPU", "cpu"),
        ("cudnn", "GPU", "tpu"),
        ("splash", "TPU", "cpu"),
        ("splash", "TPU", "gpu"),
    ],
)
def test_a_kernel_the_backend_does_not_have_is_refused(
    kernel: str, device: str, backend: str
) -> None:
    with pytest.raises(
        ValueError, match=rf"attention={kernel} must run on a {device}.*backend is {backend}"
    ):
        chosen(kernel, backend=backend)


def test_capped_scores_take_a_kernel_that_caps() -> None:
    assert chosen("auto", backend="gpu") == "cudnn"
    assert chosen("auto", backend="gpu", softcap=50.0) == "xla"
    assert chosen("auto", backend="tpu", softcap=50.0) == "splash"
    with pytest.raises(ValueError, match=r"attention=cudnn must be another .*softcap=50.0, becau"):
        chosen("cudnn", backend="gpu", softcap=50.0)


def test_scores_with_a_bias_take_a_kernel_that_adds_it() -> None:
    assert chosen("auto", backend="gpu", biased=True) == "xla"
    assert chosen("auto", backend="tpu", biased=True) == "xla"
    assert chosen("auto", backend="cpu", biased=True) == "blocked"
    for kernel, backend in (("cudnn", "gpu"), ("splash", "tpu")):
        words = rf"attention={kernel} must be another .*positions=relative, because it adds noth"
        with pytest.raises(ValueError, match=words):
            chosen(kernel, backend=backend, biased=True)
        q = jnp.zeros((2, 8, 2, 8))
        with pytest.raises(ValueError, match=words):
            attend(q, q, q, small_mask(CAUSAL, 0), kernel, bias=jnp.zeros((1, 2, 8, 8)))


@pytest.mark.parametrize(
    ("heads", "words"),
    [
        ({"dtype": "float32"}, r"model\.dtype=float32 must be bfloat16 .*; try --model\.dtype bf"),
        ({"head_dim": 256}, r"model\.head_dim=256 must be at most 128 "),
        ({"head_dim": 36}, r"model\.head_dim=36 must be a multiple of 8 "),
    ],
)
def test_what_cudnn_does_not_take_is_refused(heads: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        chosen("cudnn", backend="gpu", **heads)


@pytest.mark.parametrize("name", ["auto", "flash"])
def test_a_kernel_that_there_is_not_is_refused(name: str) -> None:
    q = jnp.zeros((2, 8, 2, 8))
    with pytest.raises(ValueError, match=rf"attention={name} must be one of xla, blocked, cudnn"):
        attend(q, q, q, small_mask(CAUSAL, 0), name)


@pytest.mark.parametrize(
    ("asked", "backend", "heads", "kernel"),
    [
        ("auto", "cpu", {"dtype": "float32"}, "blocked"),
        ("auto", "cpu", {"masks": KINDS}, "blocked"),
        ("auto", "tpu", {}, "splash"),
        ("auto", "tpu", {"dtype": "float32", "head_dim": 256}, "splash"),
        ("auto", "tpu", {"masks": SPLASH}, "splash"),
        ("auto", "tpu", {"masks": [CAUSAL, BIDIRECTIONAL]}, "xla"),
        ("splash", "tpu", {}, "splash"),
        ("xla", "tpu", {}, "xla"),
        ("auto", "gpu", {}, "cudnn"),
        ("auto", "gpu", {"masks": KINDS}, "cudnn"),
        ("auto", "gpu", {"dtype": "float32"}, "xla"),
        ("auto", "gpu", {"head_dim": 256}, "xla"),
        ("auto", "gpu", {"head_dim": 36}, "xla"),
        ("xla", "gpu", {}, "xla"),
        ("cudnn", "gpu", {}, "cudnn"),
        ("blocked", "gpu", {"dtype": "float32"}, "blocked"),
        ("blocked", "tpu", {"head_dim": 256}, "blocked"),
    ],
)
def test_auto_takes_the_best_kernel_and_a_name_is_taken_at_its_word(
    asked: str, backend: str, heads: dict[str, Any], kernel: str
) -> None:
    assert chosen(asked, backend=backend, **heads) == kernel
