"""Vision Transformers: their sizes, patches, tokens and what they refuse."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from model.families.vision import Patches, VisionTransformer
from model.families.vision_config import VisionConfig
from model.flops import flops_per_token
from model.head_config import HeadConfig
from model.interpolation import cubic_weights
from tests.families import QUICK
from tests.images import DINO, MEAN, TAGS, VIT
from tests.models import mesh_of


def drawn_images(config: VisionConfig, seed: int = 0) -> jax.Array:
    shape = (2, *config.image_size, config.channels)
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_patches_are_a_convolution_of_their_own_width() -> None:
    """By XLA's convolution, which knows the whole image."""
    images = drawn_images(VIT)
    with jax.set_mesh(mesh_of()):
        patches = Patches(VIT, jax.random.key(0))
        side, own = VIT.patch_size, patches.w[...]
        wanted = jax.lax.conv_general_dilated(
            images, own, (side, side), "VALID", dimension_numbers=("NHWC", "IHWO", "NHWC")
        )
        actual = patches(images)
    np.testing.assert_allclose(actual, wanted.reshape(actual.shape), rtol=1e-4, atol=1e-5)


def test_tokens_before_the_patches_are_no_part_of_means_and_every_patch_is_heard() -> None:
    """What the head is given are the class token and the mean of the patches alone, which have the
    values of all of the image."""
    images = drawn_images(DINO)
    with jax.set_mesh(mesh_of()):
        build = jax.jit(lambda: DINO.build(jax.random.key(0)), compiler_options=QUICK)
        model: VisionTransformer = build()

        def heard(images: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
            x = model(images)
            pooled = model.task_head.pool(x)
            return jnp.sum(pooled**2), (x, pooled)

        run = jax.jit(jax.grad(heard, has_aux=True), compiler_options=QUICK)
        felt, (x, pooled) = run(images)
    assert model.prefix == 3 and x.shape == (2, 3 + 6, 16)
    wanted = np.concatenate([x[:, 0], np.mean(x[:, 3:], axis=1)], axis=-1)
    np.testing.assert_allclose(pooled[:, 0], wanted, rtol=1e-6, atol=1e-6)
    assert (np.abs(np.asarray(felt)) > 0).all()


def test_floating_point_operations_of_an_image_are_those_of_all_its_places() -> None:
    """ViT-B/16 takes 17.6 G multiplications and additions forward (Touvron et al. 2021)."""
    base = VisionConfig(num_layers=12, embed_dim=768, num_heads=12, head_dim=64, mlp_dim=3072)
    assert flops_per_token(base, 1) == pytest.approx(3 * 2 * 17.58e9, rel=5e-3)


def test_weights_of_interpolation_sum_to_one_and_keep_what_is_even() -> None:
    for method in ("bicubic", "bicubic_antialias"):
        for before, after in ((14, 24), (37, 16), (5, 5)):
            weights = cubic_weights(before, after, method)
            np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(weights, np.eye(5))


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (VIT, {"image_size": (8, 10)}, r"model\.image_size=8 x 10 .* try --model.image-size 8 8"),
        (VIT, {"head": HeadConfig()}, r"model\.head\.kind=language must be one of labels, tags"),
        (
            VIT,
            {"head": HeadConfig(kind="labels", outputs=2, pooling="last")},
            r"model\.head\.pooling=last must be .* try --model\.head\.pooling mean",
        ),
        (
            MEAN,
            {"head": HeadConfig(kind="labels", outputs=2)},
            r"model\.head\.pooling=first must be mean with model\.class_token=False",
        ),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    base: VisionConfig, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 12, 3), r"model\.channels=2 must be 3, .* try --model\.channels 3"),
        ((16, 24, 2), r"images of 16 x 24 must be of model\.image_size=8 x 12, .*image-size 16 24"),
        ((8, 9, 2), r"images of 8 x 9 must be .* try sizes that 4 divides"),
        ((8, 2), r"model\.kind=vision must read images"),
    ],
)
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VIT.require_input(shape)
    VIT.require_input((8, 12, 2))


def test_what_it_is_asked_follows_from_its_head() -> None:
    assert VIT.questions == ("labels of images",) and TAGS.questions == ("labels of patches",)
