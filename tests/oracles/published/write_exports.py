"""Import every kind, and export it again: `python -m tests.oracles.published.write_exports DIR`."""

import sys
from pathlib import Path

import jax

from launch.config import MeshConfig
from launch.pretrained.checkpoint import open_pretrained
from launch.pretrained.export import export_weights
from launch.process.mesh import make_mesh
from tests.launch.pretrained.test_published import loaded
from tests.oracles.published.models import MODELS, VISION, checkpoint


def main(folder: Path) -> None:
    for kind, model in (MODELS | VISION).items():
        source = checkpoint(kind, folder / "sources" / kind)
        with jax.set_mesh(make_mesh(MeshConfig())):
            imported = loaded(open_pretrained(f"hf:{source}"))
            export_weights(imported, folder / kind, model["config"]["model_type"], "float32")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main(Path(sys.argv[1]))
