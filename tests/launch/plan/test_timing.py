import dataclasses

import pytest

from launch.config import RunConfig
from launch.plan.efficiency import efficiency
from launch.plan.program.compiled import ProgramWork
from launch.plan.roofline import device_of, time_lines, time_of, totals_of
from launch.plan.topology import parse
from launch.plan.work import Collective, Work
from launch.presets.preset import preset


def run(remat: str = "full", **changes: int) -> RunConfig:
    base = preset("llama3-8b")
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, remat=remat),
        train=dataclasses.replace(base.train, **changes),
    )


def test_devices_of_a_chip_share_its_figures() -> None:
    """JAX shows two devices of a TPU7x, side by side."""
    topology = parse("tpu7x:4x4x4")
    device, shape = device_of(topology)
    assert topology.chip.matmul_flops == 2 * device.matmul_flops
    assert shape == (4, 4, 8)
    assert device_of(parse("v5p:4x4x4")) == (parse("v5p:4x4x4").chip, (4, 4, 4))
    assert device_of(parse("h100x64"))[1] == ()


def test_a_chip_of_two_devices_multiplies_as_fast_as_of_a_single_device() -> None:
    topology = parse("tpu7x:4x4x4")
    halves = time_of(run(), {"fsdp": 128}, topology)
    whole = time_of(run(), {"fsdp": 64}, parse("v6e:8x8"))
    ratio = parse("v6e:8x8").chip.matmul_flops / topology.chip.matmul_flops
    assert halves.compute == pytest.approx(whole.compute * ratio)


@pytest.mark.parametrize(
    ("on", "sizes"),
    [
        ("v5p:8x8x8", {"fsdp": 64, "tensor": 8}),
        ("2xv5e-256", {"replica": 2, "fsdp": 256}),
        ("b200x64", {"replica": 2, "fsdp": 32}),
        ("h100x8", {"fsdp": 8}),
    ],
)
def test_table_fits_80_columns_and_says_where_it_comes_from(on: str, sizes: dict[str, int]) -> None:
    config, topology = run(), parse(on)
    time = time_of(config, sizes, topology)
    lines = time_lines(time, totals_of(config, topology, time.seconds, 3.5), topology)
    assert lines[0] == "time: arithmetic roofline over arithmetic"
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert "cost" in lines[-1]


@pytest.mark.parametrize(
    ("layers", "steps", "unit", "lasting"),
    [(1, 1000, "ms", "minutes"), (32, 10_000, "seconds", "hours")],
)
def test_a_short_step_is_printed_in_a_smaller_unit(
    layers: int, steps: int, unit: str, lasting: str
) -> None:
    config, topology = run(steps=steps, batch_size=64), parse("v5p:4x4x4")
    model = dataclasses.replace(config.model, num_layers=layers)
    config = dataclasses.replace(config, model=model)
    time = time_of(config, {"fsdp": 64}, topology)
    lines = time_lines(time, totals_of(config, topology, time.seconds), topology)
    assert lines[1].split()[-1] == unit
    step = next(line.split()[1] for line in lines if line.startswith("step"))
    assert float(step) == pytest.approx(time.seconds * (1000 if unit == "ms" else 1), abs=1e-3)
    assert lines[-2].endswith(f"{lasting},")


def test_a_compiled_program_is_asked_before_arithmetic() -> None:
    config, topology = run(), parse("v5p:4x4x4")
    sizes, shares = {"fsdp": 64}, efficiency(parse("v5p:4x4x4").chip)
    gather = Collective("all-gather", ("fsdp",), 64, 1, 600e9)
    result = ProgramWork(Work(459e12, 0.0, (gather,), "compiler"), [], {})
    time = time_of(config, sizes, topology, result)
    assert time.communication[0].fast == pytest.approx(1 / shares.link)
    assert time.compute == pytest.approx(1 / shares.matmul)
    lines = time_lines(time, totals_of(config, topology, time.seconds), topology)
    assert lines[0] == "time: arithmetic roofline over the compiler's program"
    assert "cost" not in lines[-1]


def test_products_of_closed_kernels_are_counted_by_arithmetic() -> None:
    config, topology, sizes = run(), parse("v5p:4x4x4"), {"fsdp": 64}
    result = ProgramWork(Work(459e12, 0.0, (), "compiler"), [], {"tpu_custom_call": 32})
    time = time_of(config, sizes, topology, result)
    assert time.compute == time_of(config, sizes, topology).compute
    assert (time.origin, time.products, time.communication) == ("compiler", "arithmetic", ())
    lines = time_lines(time, totals_of(config, topology, time.seconds), topology)
    assert "products are arithmetic's" in "\n".join(lines)


def test_what_goes_to_the_host_is_said_not_to_be_in_the_time() -> None:
    config, topology, sizes = run(), parse("v5p:4x4x4"), {"fsdp": 64}
    time = time_of(config, sizes, topology)
    course, said = totals_of(config, topology, time.seconds), "host's memory and back is not"
    assert said not in "\n".join(time_lines(time, course, topology))
    assert said in "\n".join(time_lines(time, course, topology, host=1))


def test_a_run_takes_its_steps() -> None:
    config, topology = run(steps=1000, batch_size=512), parse("v5p:4x4x4")
    whole = totals_of(config, topology, 10.0, price=2.0)
    assert whole.tokens == 1000 * 512 * 8192
    assert whole.days == pytest.approx(10_000 / 86400)
    assert whole.cost == pytest.approx(2 * 64 * 10_000 / 3600)
