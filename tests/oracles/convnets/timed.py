"""The same networks in torch, which `tests.bench.convolution` times in turns with ours: it reads a
name of a step from a line, makes it, and prints its seconds."""

import sys
import time
from collections.abc import Callable

import torch  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]


class Residual(nn.Module):
    """ResNet's basic block with GroupNorm."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.GroupNorm(8, outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.GroupNorm(8, outputs),
        )
        shortcut = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.GroupNorm(8, outputs)]
        changed = stride > 1 or inputs != outputs
        self.shortcut = nn.Sequential(*shortcut) if changed else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.shortcut(x) + self.branch(x))


class ChannelsLast(nn.Module):
    """A norm and layers of each place, [B, C, H, W]."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Next(nn.Module):
    """ConvNeXt's block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        wide = 4 * width
        self.rest = ChannelsLast(
            nn.LayerNorm(width), nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.rest(self.depthwise(x))


def plain(inputs: int, outputs: int, stride: int) -> nn.Module:
    """A convolution, a norm and a non-linearity."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(8, outputs), nn.ReLU())


def head(width: int) -> nn.Module:
    """The mean of all places, and ten scores."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


NETWORKS = {
    "plain": lambda: nn.Sequential(plain(3, 32, 1), plain(32, 64, 2), plain(64, 128, 2), head(128)),
    "resnet": lambda: nn.Sequential(
        plain(3, 32, 1), Residual(32, 32, 1), Residual(32, 64, 2), Residual(64, 128, 2), head(128)
    ),
    "convnext": lambda: nn.Sequential(
        nn.Conv2d(3, 48, 4, 4),
        ChannelsLast(nn.LayerNorm(48)),
        Next(48),
        Next(48),
        ChannelsLast(nn.LayerNorm(48)),
        nn.Conv2d(48, 96, 2, 2),
        Next(96),
        Next(96),
        nn.AdaptiveAvgPool2d(1),
        ChannelsLast(nn.LayerNorm(96)),
        head(96),
    ),
}
WIDTH = 64
OPERATIONS = {
    "3 x 3": lambda: nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
    "3 x 3, stride 2": lambda: nn.Conv2d(WIDTH, WIDTH, 3, 2, 1),
    "1 x 1": lambda: nn.Conv2d(WIDTH, WIDTH, 1),
    "depthwise 7 x 7": lambda: nn.Conv2d(WIDTH, WIDTH, 7, padding=3, groups=WIDTH),
    "group norm": lambda: nn.GroupNorm(8, WIDTH),
}


def step(name: str, batch: int, side: int) -> Callable[[], object]:
    """A training step of that network: forward, backward, AdamW."""
    torch.manual_seed(0)
    model = NETWORKS[name]()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    x, y = torch.randn(batch, 3, side, side), torch.randint(0, 10, (batch,))

    def run() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return run


def operation(name: str, batch: int, side: int) -> Callable[[], object]:
    """One layer, forward and backward."""
    layer = OPERATIONS[name]()
    x = torch.randn(batch, WIDTH, side, side, requires_grad=True)
    out = torch.randn_like(layer(x))

    def run() -> None:
        # Gradients that stand are added to, which ours are not.
        layer.zero_grad()
        x.grad = None
        layer(x).backward(out)

    return run


def main(batch: int, side: int, threads: int) -> None:
    torch.set_num_threads(threads)
    calls = {name: step(name, batch, side) for name in NETWORKS}
    calls |= {name: operation(name, batch, side) for name in OPERATIONS}
    for line in sys.stdin:
        began = time.perf_counter()
        calls[line.strip()]()
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
