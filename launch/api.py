"""MeshLoom from Python: train, evaluate and generate on the devices there are.

The command line calls the same functions. Parts of a `RunConfig` may be of classes from elsewhere:
a family (`FamilyConfig`), data (`DataKind`, whose batches carry their objective) or text with
sources of its own (`DataConfig`), an optimizer (`OptimizerConfig`). docs/python.md shows each.
"""

from launch.config import DistributedConfig, MeshConfig, RunConfig
from launch.presets.preset import preset
from launch.run.assembly import Trained
from launch.run.evaluate import evaluate
from launch.run.generate import generate
from launch.run.train import train

__all__ = [
    "DistributedConfig",
    "MeshConfig",
    "RunConfig",
    "Trained",
    "evaluate",
    "generate",
    "preset",
    "train",
]
