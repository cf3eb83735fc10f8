"""Write `recurrence.npz`: what `torch.nn.LSTM` and `torch.nn.GRU` give (made with torch 2.13.0)."""

import numpy as np
import torch  # pyright: ignore[reportMissingImports]

from tests.oracles.recurrence import GOLDEN, D, H, L, inputs, torch_weights


def main() -> None:
    golden = {}
    for kind in ("lstm", "gru"):
        build = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind]
        layer = build(D, H // 2, L, batch_first=True, bidirectional=True).double()
        weights = {name: torch.tensor(value) for name, value in torch_weights(kind).items()}
        layer.load_state_dict(weights)
        x = torch.tensor(inputs()).double().requires_grad_()
        y, _ = layer(x)
        torch.sin(y).sum().backward()
        assert x.grad is not None
        golden[f"{kind}/outputs"] = y.detach().numpy().astype(np.float32)
        golden[f"{kind}/inputs gradient"] = x.grad.numpy().astype(np.float32)
        for name, weight in layer.named_parameters():
            golden[f"{kind}/{name}"] = weight.grad.numpy().astype(np.float32)
        print(kind, y.shape)
    np.savez_compressed(GOLDEN, **golden)


if __name__ == "__main__":
    main()
