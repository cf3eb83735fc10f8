"""Load exports by `transformers` and compare their scores with the goldens.

`python -m tests.oracles.published.write_exports FOLDER` writes them; this needs torch, transformers
and NumPy alone: `python tests/oracles/published/exports.py FOLDER`, run with 5.24.0 and 4.57.6.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import transformers as hf  # pyright: ignore[reportMissingImports]

HERE = Path(__file__).parent
SCORES = np.load(HERE / "scores.npz")
IMAGES = np.load(HERE / "vision.npz")
PIXELS = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 16, 16)))
TOKENS = torch.tensor(np.random.default_rng(0).integers(3, 67, (2, 20)))
FAR = 2e-6
"""Distance from float64, as a share of the largest score."""


def main(folder: Path) -> None:
    asked = {kind: (SCORES[kind], TOKENS) for kind in SCORES}
    asked |= {kind: (IMAGES[kind], PIXELS) for kind in IMAGES if "/" not in kind}
    for kind, (wanted, inputs) in asked.items():
        fields = json.loads((folder / kind / "config.json").read_text())
        load = getattr(hf, fields["architectures"][0]).from_pretrained
        bare = {"add_pooling_layer": False} if kind == "vit-bare" else {}
        said = {"output_loading_info": True, "attn_implementation": "eager"}
        model, left = load(folder / kind, **said, **bare)
        with torch.no_grad():
            said = model.double().eval()(inputs)
        actual = (said.logits if "logits" in said else said.last_hidden_state).numpy()
        far = np.abs(actual - wanted).max() / np.abs(wanted).max()
        print(f"transformers {hf.__version__}  {kind:<20}{far:.1e}")
        assert far < FAR and not any(left.values()), (kind, far, left)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
