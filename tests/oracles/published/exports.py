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

SCORES = np.load(Path(__file__).with_name("scores.npz"))
TOKENS = torch.tensor(np.random.default_rng(0).integers(3, 67, (2, 20)))
FAR = 2e-6
"""Distance from float64, as a share of the largest score."""


def main(folder: Path) -> None:
    for kind in SCORES:
        fields = json.loads((folder / kind / "config.json").read_text())
        load = getattr(hf, fields["architectures"][0]).from_pretrained
        model, left = load(folder / kind, output_loading_info=True, attn_implementation="eager")
        with torch.no_grad():
            actual = model.double().eval()(TOKENS).logits.numpy()
        far = np.abs(actual - SCORES[kind]).max() / np.abs(SCORES[kind]).max()
        print(f"transformers {hf.__version__}  {kind:<20}{far:.1e}")
        assert far < FAR and not any(left.values()), (kind, far, left)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
