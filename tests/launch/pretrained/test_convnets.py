"""Published convolutional networks: their scores are those of `transformers`, on any mesh, and they
go out as they came in."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from launch.pretrained.checkpoint import Pretrained, open_pretrained
from launch.pretrained.export import export_weights
from launch.pretrained.load import load_weights
from launch.pretrained.safetensors import open_folder
from launch.pretrained.verify import asked_rows, exact, scores
from tests.convnets import network
from tests.models import mesh_of
from tests.oracles.convnets.models import IMAGES, MODELS, SCORES, checkpoint


def loaded(pretrained: Pretrained) -> Any:
    """The network with its weights, on the current mesh."""
    config: Any = pretrained.model
    config = dataclasses.replace(config, dtype="float32", convolutions="gpu")
    return load_weights(network(config), pretrained, lambda line: None)


@pytest.mark.parametrize("kind", MODELS)
def test_scores_are_those_of_transformers_and_an_export_is_the_same(
    kind: str, tmp_path: Path
) -> None:
    source, out = checkpoint(kind, tmp_path / "in"), tmp_path / "out"
    pretrained = open_pretrained(f"hf:{source}")
    with jax.set_mesh(mesh_of()):
        model = loaded(pretrained)
        model.config.require_input(asked_rows(model.config, None).shape[1:])
        actual, wanted = scores(exact(model, "float32"), IMAGES), SCORES[kind]
        np.testing.assert_allclose(actual, wanted, rtol=0, atol=2e-5 * np.abs(wanted).max())
        export_weights(model, out, MODELS[kind]["config"]["model_type"], "float32")
        again = loaded(open_pretrained(f"hf:{out}"))
    ours, theirs = (dict(open_folder(folder)) for folder in (out, source))
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(model), strict=True):
        # A variance of 1 less its epsilon is rounded.
        np.testing.assert_allclose(a, b, rtol=0 if kind == "convnext" else 2e-7)
    written = json.loads((out / "config.json").read_text())
    config = MODELS[kind]["config"]
    names = (written.keys() & config.keys()) - {"dtype"}
    assert {name: written[name] for name in names} == {name: config[name] for name in names}
