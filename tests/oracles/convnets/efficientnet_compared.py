"""What our EfficientNet-Lite0 says of the photographs of `efficientnet.py`, next to torch."""

import sys
from pathlib import Path

import jax
import numpy as np

from launch.config import MeshConfig
from launch.pretrained.checkpoint import open_pretrained
from launch.process.mesh import make_mesh
from tests.launch.pretrained.test_convnets import loaded, scores


def main(folder: Path) -> None:
    known = np.load(folder / "logits.npz")
    with jax.set_mesh(make_mesh(MeshConfig(fsdp=1))):
        ours = scores(loaded(open_pretrained(f"hf:{folder}")), known["images"])
    theirs = known["logits"]
    far = np.abs(ours - theirs).max() / np.abs(theirs).max()
    print(f"distance {far:.1e} of the largest logit {np.abs(theirs).max():.2f}")
    for name, row, other in zip(known["names"], ours, theirs, strict=True):
        shares = np.exp(row - row.max())
        shares /= shares.sum()
        best = np.argsort(-row)[:5]
        listed = "  ".join(f"{n} {shares[n]:.3f}" for n in best)
        print(f"{Path(str(name)).stem:<12}{listed}  torch {np.argsort(-other)[:5]}")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main(Path(sys.argv[1]))
