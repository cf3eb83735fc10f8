"""A user's program: trains the pictures of `pictures`, and evaluates what came of it.

Arguments: run directory, `start` or `resume`.
"""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from launch.api import MeshConfig, RunConfig, evaluate, train
from tests.outside.optimizer import Factored
from tests.outside.pictures import PerceptronConfig, PictureData
from train.config import CheckpointConfig, TrainConfig

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
MESH = MeshConfig(fsdp=2, tensor=2)
DATA: Any = PictureData()
CONFIG = RunConfig(
    preset="pictures",
    model=PerceptronConfig(),
    data=DATA,
    train=TrainConfig(
        steps=40,
        batch_size=16,
        log_every=1,
        eval_batches=2,
        optimizer=Factored(learning_rate=0.01, warmup_steps=2),
        checkpoint=CheckpointConfig(every_steps=5),
    ),
    mesh=MESH,
    tensorboard=False,
)

if __name__ == "__main__":
    before = [signal.getsignal(number) for number in SIGNALS]
    trained = train(CONFIG, run_dir=Path(sys.argv[1]), resume=sys.argv[2] == "resume")
    step, measures = evaluate(trained.path, config=CONFIG, mesh=MESH)
    ours = [signal.getsignal(number) for number in SIGNALS] == before
    print(json.dumps({"step": step, "finished": trained.finished, "signals": ours, **measures}))
