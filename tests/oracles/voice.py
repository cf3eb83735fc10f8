"""`python -m tests.oracles.voice`: our LSTM next to torch's, with the weights of Silero's detector
of speech (needs torch and safetensors next to this repository's packages)."""

import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy  # pyright: ignore[reportMissingImports]
import torch  # pyright: ignore[reportMissingImports]

from launch.process.runtime import leave_out_absent_tpu
from model.recurrence import Recurrence, begins
from model.weights import param
from tests.models import mesh_of
from tests.oracles.recurrence import NAMES, load
from tests.results.assets import archive

B, T, H = 4, 200, 128


def main() -> None:
    with zipfile.ZipFile(archive("silero-vad==6.2.3")) as wheel:
        content = wheel.read("silero_vad/data/silero_vad_16k.safetensors")
    tensors = safetensors.numpy.load(content)
    weights = {name: tensors[f"lstm_cell.{name}"] for name in NAMES}
    x = np.random.default_rng(0).normal(size=(B, T, H)).astype(np.float32)
    theirs = torch.nn.LSTM(H, H, batch_first=True)
    theirs.load_state_dict({f"{name}_l0": torch.tensor(value) for name, value in weights.items()})
    with torch.no_grad():
        wanted = theirs(torch.tensor(x))[0].numpy()
    with jax.set_mesh(mesh_of()):
        layer = Recurrence(param, jax.random.key(0), H, H, kind="lstm")
        load(layer, weights)
        begin = begins(jnp.ones((B, T), jnp.int32), reverse=False)
        states = jax.jit(lambda layer, x: layer(x, begin))(layer, jnp.swapaxes(x, 0, 1))
        ours = np.swapaxes(np.asarray(states[0]), 0, 1)
    print(f"largest difference {np.abs(ours - wanted).max():.1e} of {np.abs(wanted).max():.2f}")


if __name__ == "__main__":
    leave_out_absent_tpu()
    main()
