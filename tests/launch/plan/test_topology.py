import pytest

from launch.plan.topology import parse


@pytest.mark.parametrize(
    ("name", "chips", "devices", "shape"),
    [
        ("v5p:8x8x8", 512, 512, (8, 8, 8)),
        ("v5p-1024", 512, 512, (8, 8, 8)),
        ("v5p-8", 4, 4, (2, 2, 1)),
        ("v5p-64", 32, 32, (2, 4, 4)),
        ("v5p-12288", 6144, 6144, (16, 16, 24)),
        ("v5p:16x20x28", 8960, 8960, (16, 20, 28)),
        ("2xv4:8x16x24", 6144, 6144, (8, 16, 24)),
        ("2xv4-6144", 6144, 6144, (12, 16, 16)),
        ("v5e-256", 256, 256, (16, 16)),
        ("v5litepod-8", 8, 8, (2, 4)),
        ("2xv5e-256", 512, 512, (16, 16)),
        ("v6e-1", 1, 1, (1, 1)),
        ("tpu7x-8", 4, 8, (2, 2, 1)),
        ("tpu7x:16x16x36", 9216, 18432, (16, 16, 36)),
        ("h100x1024", 1024, 1024, (128, 8)),
        ("a100x2240", 2240, 2240, (280, 8)),
        ("H200x4", 4, 4, (1, 4)),
    ],
)
def test_names(name: str, chips: int, devices: int, shape: tuple[int, ...]) -> None:
    topology = parse(name)
    assert (topology.chips, topology.devices, topology.shape) == (chips, devices, shape)
    assert f"{chips:,} {topology.chip.name} chip" in topology.words
    assert parse(topology.name) == topology


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v9-8", "v4, v5e, v5p, v6e, tpu7x, a100, h100, h200, b200"),
        ("v5p", "try v5p:4x4x4"),
        ("v5p-2", "try v5p-8 or v5p-16"),
        ("v5p-130", "v5p-64 or v5p-128"),
        ("v5e-100", "v5e-64 or v5e-128"),
        ("v5e:32x32", "try v5e:16x16"),
        ("v5p:3x3x3", "v5p:2x4x4"),
        ("v5p:4x4", "3 sides"),
        ("v5p:4x4x0", "3 sides"),
        ("v5p-40000", "up to 8960"),
        ("h100x12", "try h100x8 or h100x16"),
        ("h100x0", "h100x1 or h100x8"),
        ("h100-8", "try h100x64"),
        ("v5px8", "GPUs as h100x64"),
        ("0xv5e-4", "at least 1 slice"),
    ],
)
def test_others_are_refused_with_the_nearest(name: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        parse(name)
