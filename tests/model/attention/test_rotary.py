import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.attention.rates import rotary_rates
from model.attention.rotary import Rotation, rotate
from model.families.rope_scaling import RopeScaling

RATES = jnp.asarray(rotary_rates(16, 10_000.0))
ROTATION = Rotation(RATES)
rng = np.random.default_rng(0)


def normal(*shape: int) -> jax.Array:
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)


@given(first=st.integers(0, 500), second=st.integers(0, 500), shift=st.integers(0, 500))
@settings(max_examples=10)
def test_rotary_scores_depend_on_the_distance_alone(first: int, second: int, shift: int) -> None:
    q, k = normal(1, 1, 1, 16), normal(1, 1, 1, 16)

    def score(at: int, of: int) -> float:
        turned = [rotate(x, jnp.full((1, 1), p), ROTATION) for x, p in ((q, at), (k, of))]
        return float(jnp.sum(turned[0] * turned[1]))

    assert score(first, second) == pytest.approx(score(first + shift, second + shift), abs=1e-3)


def test_rotary_turns_and_does_not_stretch() -> None:
    x, places = normal(1, 5, 2, 16), jnp.arange(5)[None]
    turned = rotate(x, places, ROTATION)
    np.testing.assert_array_equal(turned[:, 0], x[:, 0])
    np.testing.assert_allclose(
        np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5
    )
    assert float(jnp.max(jnp.abs(turned[:, 1:] - x[:, 1:]))) > 0.1


def test_rotary_rates_are_those_of_the_paper() -> None:
    wanted = [10_000.0 ** (-2 * i / 16) for i in range(8)]
    np.testing.assert_allclose(RATES, wanted, rtol=1e-6)


@pytest.mark.parametrize(("factor", "head_dim"), [(8.0, 128), (32.0, 64)])
def test_llama_3_1_stretches_long_waves(factor: float, head_dim: int) -> None:
    """The published procedure, with its low_freq_factor 1, high_freq_factor 4 and old length
    8192."""
    rates = rotary_rates(head_dim, 500_000.0, RopeScaling(kind="llama3", factor=factor))
    wanted = []
    for i in range(head_dim // 2):
        rate = 500_000.0 ** (-2 * i / head_dim)
        wave = 2 * math.pi / rate
        if wave > 8192 / 1:
            rate /= factor
        elif wave >= 8192 / 4:
            smooth = (8192 / wave - 1) / (4 - 1)
            rate = (1 - smooth) * rate / factor + smooth * rate
        wanted.append(rate)
    np.testing.assert_allclose(rates, wanted, rtol=1e-5)
    assert wanted[0] == 1.0
    assert wanted[-1] == pytest.approx(500_000.0 ** (2 / head_dim - 1) / factor)


def test_linear_scaling_stretches_all_waves() -> None:
    scaled = rotary_rates(16, 1e4, RopeScaling(kind="linear", factor=4.0))
    np.testing.assert_allclose(scaled, np.asarray(RATES) / 4, rtol=1e-6)


def test_yarn_blends_by_channel() -> None:
    """Peng et al. 2023, section 3.2, with the whole numbers of its published code: of 32 pairs
    over 4,096 tokens, those that turn 32 times stay and those that turn once are stretched."""
    scaling = RopeScaling(kind="yarn", factor=16.0, trained_length=4096)
    own = rotary_rates(64, 1e4)
    turns = 4096 * np.asarray(own) / (2 * math.pi)
    first, last = np.flatnonzero(turns >= 32)[-1], np.flatnonzero(turns <= 1)[0]
    stretched = np.clip((np.arange(32) - first) / (last - first), 0, 1)
    wanted = own * (1 - stretched) + own / 16 * stretched
    rates = rotary_rates(64, 1e4, scaling)
    np.testing.assert_allclose(rates, wanted, rtol=1e-5)
    assert scaling.amplitude == pytest.approx(0.1 * math.log(16) + 1)


def test_channels_after_the_turned_ones_stay() -> None:
    x, places = normal(1, 5, 2, 24), jnp.arange(5)[None]
    turned = rotate(x, places, ROTATION)
    np.testing.assert_array_equal(turned[..., 16:], x[..., 16:])
    np.testing.assert_allclose(turned[..., :16], rotate(x[..., :16], places, ROTATION))
