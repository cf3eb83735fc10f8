import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.attention.mask import Mask, MaskKind, TokenPlaces
from tests.masks import KINDS, WINDOW, seen, small_mask

ROW = TokenPlaces(jnp.arange(5)[None])
PACKED = TokenPlaces(jnp.arange(5)[None], jnp.ones((1, 5), jnp.int32))


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_what_is_visible_is_what_the_mask_says_pair_by_pair(kind: MaskKind, seed: int) -> None:
    mask = small_mask(kind, seed)
    assert mask.kind == kind
    np.testing.assert_array_equal(mask.visible()[:, 0], seen(mask))


@pytest.mark.parametrize("causal", [True, False])
def test_a_layer_has_the_window_or_sees_as_far_as_it_likes(causal: bool) -> None:
    mask = Mask(causal=causal, window=2, queries=ROW)
    banded = dataclasses.replace(mask, layer_window=jnp.asarray(2))
    dense = dataclasses.replace(mask, layer_window=jnp.asarray(jnp.iinfo(jnp.int32).max))
    np.testing.assert_array_equal(banded.visible(), mask.visible())
    whole = dataclasses.replace(mask, window=None)
    np.testing.assert_array_equal(dense.visible(), whole.visible())


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_no_array_is_needed_where_the_order_of_the_row_says_it_all(kind: MaskKind) -> None:
    """Held against the formula: whatever the places are, it is the lower triangle or everything."""
    masks = [seen(small_mask(kind, seed)) for seed in range(8)]
    triangle = np.tril(np.ones(masks[0].shape[1:], bool))
    by_row = all((mask == (triangle if kind.causal else True)).all() for mask in masks)
    assert kind.by_row == by_row
    none_later = kind.separate_keys is False and not any((mask & ~triangle).any() for mask in masks)
    assert kind.hides_later == none_later


def test_a_mask_is_a_pytree_whose_static_parts_choose_the_program() -> None:
    traces = []

    @jax.jit
    def visible(mask: Mask) -> jax.Array:
        traces.append((mask.causal, mask.window))
        return mask.visible()

    for causal in (True, False, True):
        mask = Mask(causal=causal, queries=ROW, window=2, layer_window=jnp.asarray(2))
        shapes = jax.eval_shape(lambda mask: mask, mask)
        assert jax.tree.structure(shapes) == jax.tree.structure(mask)
        np.testing.assert_array_equal(visible(mask), mask.visible())
    assert traces == [(True, 2), (False, 2)]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"queries": ROW, "window": 0}, r"window=0 must be at least 1"),
        ({"queries": ROW, "layer_window": jnp.asarray(WINDOW)}, r"layer_window must be None"),
        ({"queries": ROW, "keys": PACKED}, r"segment_ids must be those of queries and keys or"),
        ({"queries": PACKED, "keys": ROW}, r"segment_ids must be those of queries and keys or"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(parts: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Mask(causal=True, **parts)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (MaskKind(causal=True), "causal"),
        (MaskKind(causal=False, window=True), "bidirectional with a window"),
        (
            MaskKind(causal=True, prefix=True, separate_keys=True),
            "causal with a prefix and keys",
        ),
    ],
)
def test_a_kind_is_said_in_words(kind: MaskKind, words: str) -> None:
    assert str(kind).startswith(words)
