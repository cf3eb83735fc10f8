"""Forms of numbers and of files: what is read is what was written."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from data.errors import UserError
from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.npz import open_npz
from launch.pretrained.safetensors import TYPES, open_file
from tests.launch.pretrained.test_published import loaded
from tests.launch.pretrained.test_refused import changed, rewritten
from tests.models import mesh_of
from tests.oracles.published.models import MODELS, checkpoint, drawn

SHAPES = {name: tuple(shape) for name, shape in MODELS["llama2"]["shapes"].items()}
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F16", "I8", "F64"])
def test_numbers_are_those_of_the_file(dtype: str, tmp_path: Path) -> None:
    pretrained = open_pretrained(f"hf:{checkpoint('llama2', tmp_path, dtype)}")
    with jax.set_mesh(mesh_of(fsdp=2, tensor=2)):
        model = loaded(pretrained)
    wanted = drawn(UP, SHAPES[UP]).astype(TYPES[dtype]).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(model.blocks.mlp.w_up[...])[1].T, wanted)


def test_numbers_that_others_scale_are_refused(tmp_path: Path) -> None:
    folder = checkpoint("llama2", tmp_path, "F8_E4M3")
    scale = {UP + "_scale_inv": np.ones((1, 1), np.float32)}
    rewritten(folder, lambda arrays: arrays.update(scale))
    with jax.set_mesh(mesh_of()):
        with pytest.raises(UserError, match=r"but 1 have no name here: .*up_proj\.weight_scale"):
            loaded(open_pretrained(f"hf:{folder}"))
        changed(folder, quantization_config={"quant_method": "fp8"})
        with pytest.raises(UserError, match=r"it has quantization_config=\{'quant_method'"):
            loaded(open_pretrained(f"hf:{folder}"))


def as_npz(folder: Path, save: Callable[..., None] = np.savez, **more: np.ndarray) -> Path:
    """The folder with an archive in place of its safetensors."""
    path = folder / "model.safetensors"
    arrays = {n: t.read(slice(0, t.rows)).reshape(t.shape) for n, t in open_file(path).items()}
    save(folder / "model.npz", **arrays, **more)
    path.unlink()
    return folder


def test_an_archive_of_numpy_is_a_checkpoint(tmp_path: Path) -> None:
    folder = checkpoint("llama2", tmp_path)
    wanted = open_pretrained(f"hf:{folder}").tensors
    actual = open_pretrained(f"hf:{as_npz(folder)}").tensors
    assert actual.keys() == wanted.keys()
    for name, shape in SHAPES.items():
        array = drawn(name, shape).reshape(len(drawn(name, shape)), -1)
        part = actual[name].read(slice(1, len(array)), slice(0, min(3, array.shape[1])))
        np.testing.assert_array_equal(part, array[1:, :3], err_msg=name)


def test_archives_that_are_not_plain_arrays_are_refused(tmp_path: Path) -> None:
    folder = as_npz(checkpoint("llama2", tmp_path / "compressed"), np.savez_compressed)
    with pytest.raises(UserError, match=r"head\.weight as it is.*but it is compressed; try once"):
        open_pretrained(f"hf:{folder}")
    path = tmp_path / "model.npz"
    for array, message in (
        (np.array([{}], object), "but a is of object; try saving"),
        (np.asfortranarray(np.ones((2, 3))), "but a is of float64 by columns"),
        (np.array(["b"]), "but a is of <U1"),
    ):
        np.savez(path, a=array)
        with pytest.raises(UserError, match=message):
            open_npz(path)
    np.savez(path, a=np.arange(9))
    for damaged in (path.read_bytes()[:-9], b"", path.read_bytes().replace(b"(9,)", b"(8,)")):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"archive of arrays as `numpy\.savez` writes it"):
            open_npz(path)
