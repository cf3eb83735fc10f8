"""Export every kind, in every type, and verify it as `meshloom export --verify` does.

`python -m tests.oracles.published.verify_exports`, where MeshLoom, torch and transformers are; run
with torch 2.13.0 and transformers 5.24.0 and 4.57.6.
"""

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import transformers  # pyright: ignore[reportMissingImports]

from launch.config import MeshConfig
from launch.pretrained.checkpoint import open_pretrained, usual_head
from launch.pretrained.export import DTYPES, export_weights
from launch.pretrained.verify import verify_export
from launch.process.mesh import make_mesh
from model.head_config import HeadConfig
from tests.launch.pretrained.test_convnets import loaded as loaded_convnet
from tests.launch.pretrained.test_published import loaded
from tests.oracles.convnets import models as convnets
from tests.oracles.published.models import MODELS, checkpoint


def models(folder: Path) -> Iterator[tuple[str, str, Any]]:
    """What is exported, its published kind, and the model."""
    for kind, known in MODELS.items():
        pretrained = open_pretrained(f"hf:{checkpoint(kind, folder / kind)}")
        yield kind, known["config"]["model_type"], loaded(pretrained)
    for kind, known in convnets.MODELS.items():
        pretrained = open_pretrained(f"hf:{convnets.checkpoint(kind, folder / kind)}")
        yield kind, known["config"]["model_type"], loaded_convnet(pretrained)
    for kind in ("span", "embedding"):
        pretrained = open_pretrained(f"hf:{folder / 'bert'}")
        head: Any = HeadConfig(kind=kind)
        config = dataclasses.replace(
            pretrained.model, head=usual_head(pretrained.published, pretrained.model, head)
        )
        yield f"bert-{kind}", "bert", loaded(dataclasses.replace(pretrained, model=config))


def main() -> None:
    with tempfile.TemporaryDirectory() as name, jax.set_mesh(make_mesh(MeshConfig())):
        folder = Path(name)
        for kind, model_type, model in models(folder):
            far = []
            for dtype in DTYPES:
                out = folder / f"{kind}-{dtype}"
                export_weights(model, out, model_type, dtype)
                far.append(f"{dtype} {verify_export(model, out, None).distance:.1e}")
            print(f"transformers {transformers.__version__}  {kind:<18}{'  '.join(far)}")


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    main()
