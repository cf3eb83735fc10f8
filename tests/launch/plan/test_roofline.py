import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.plan.efficiency import Efficiency, efficiency, fitted_on
from launch.plan.placement import place
from launch.plan.roofline import step_time, totals_of
from launch.plan.topology import parse
from launch.plan.work import Collective, Work
from launch.presets.preset import preset
from model.flops import flops_per_token
from train.chips import CHIPS

V5P, V5E, H100 = CHIPS["v5p"], CHIPS["v5e"], CHIPS["h100"]
PEAK = Efficiency(matmul=1.0, link=1.0, network=1.0, overlap=0.0)


def work(*collectives: Collective, flops: float = 0.0, memory: float = 0.0) -> Work:
    return Work(flops, memory, collectives, "arithmetic")


def gather(axis: str, group: int, result: float) -> Collective:
    """One gather of a result of so many bytes over a group."""
    return Collective("all-gather", (axis,), group, 1, result * (group - 1) / group)


def test_gather_over_four_chips_of_a_dimension_by_hand() -> None:
    """A ring of v5p sends over two links of 100 GB/s: 3/4 of 400 MB take 1.5 ms, on a line, which
    has one, 3 ms."""
    need = work(gather("tensor", 4, 400e6))
    ring = place(V5P, {"fsdp": 16, "tensor": 4}, (4, 4, 4))
    line = place(V5P, {"fsdp": 128, "tensor": 4}, (8, 8, 8))
    assert step_time(need, V5P, ring, PEAK).seconds == pytest.approx(1.5e-3)
    assert step_time(need, V5P, line, PEAK).seconds == pytest.approx(3e-3)


def test_gather_over_nodes_is_bounded_by_the_nics_of_the_group_by_hand() -> None:
    """31/32 of 3.2 GB: over NVLink at 450 GB/s 6.9 ms; of 4 chips a node, over 4 x 50 GB/s 15.5 ms;
    of 1 chip a node over 50 GB/s 62 ms."""
    shared = place(H100, {"fsdp": 32, "tensor": 2})
    time = step_time(work(gather("fsdp", 32, 3.2e9)), H100, shared, PEAK)
    assert time.seconds == pytest.approx(15.5e-3)
    assert time.communication[0].fast == pytest.approx(3.1e9 / 450e9)
    assert time.communication[0].slower == "network"
    alone = place(H100, {"fsdp": 32, "tensor": 8})
    time = step_time(work(gather("fsdp", 32, 3.2e9)), H100, alone, PEAK)
    assert time.seconds == pytest.approx(62e-3)
    assert time.communication[0].fast == 0


def test_a_sum_that_the_compiler_cut_at_the_border_of_slices_by_hand() -> None:
    """Four replicas in two slices: each sums 800 MB in halves over its own two chips by links, on
    a line of 50 GB/s, and sends half of them, 400 MB, between slices over its own 3.125 GB/s.
    Arithmetic's sum over all four, with the gather that ends it, counts as the same."""
    two = place(V5E, {"replica": 4, "fsdp": 128}, (16, 16))
    scattered = Collective("reduce-scatter", ("replica",), 2, 1, 400e6)
    between = Collective("all-reduce", ("replica",), 2, 1, 400e6, apart=True)
    time = step_time(work(scattered, between), V5E, two, PEAK)
    assert [part.fast for part in time.communication] == pytest.approx([8e-3])
    assert [part.network for part in time.communication] == pytest.approx([128e-3])
    whole = Collective("all-reduce", ("replica",), 4, 1, 1200e6)
    output = step_time(work(whole), V5E, two, PEAK).communication[0]
    assert (output.fast, output.network) == pytest.approx((16e-3, 128e-3))


def test_products_and_memory_run_together_and_waiting_is_added() -> None:
    place_of = place(V5P, {"fsdp": 16, "tensor": 4}, (4, 4, 4))
    both = [gather("tensor", 4, 4e9), gather("fsdp", 16, 16e9)]
    need = work(*both, flops=459e12, memory=2765e9 / 2)
    shares = Efficiency(matmul=0.5, link=0.5, network=1.0, overlap=0.4)
    time = step_time(need, V5P, place_of, shares)
    assert (time.compute, time.memory, time.chip) == pytest.approx((2.0, 0.5, 2.0))
    assert [part.axes for part in time.communication] == [("fsdp",), ("tensor",)]
    assert [part.seconds for part in time.communication] == pytest.approx([0.075, 0.03])
    assert time.hidden == pytest.approx(0.4 * 0.075)
    assert time.seconds == pytest.approx(2.0 + 0.03 + 0.6 * 0.075)
    assert time.origin == "arithmetic"


def test_no_more_is_hidden_than_the_chip_works() -> None:
    need = work(gather("fsdp", 16, 16e12), flops=459e9)
    time = step_time(need, V5P, place(V5P, {"fsdp": 16}, (2, 2, 4)), PEAK._replace(overlap=1.0))
    assert time.hidden == pytest.approx(1e-3)


def test_groups_that_follow_no_axes_are_waited_for_on_the_slowest_way() -> None:
    stray = Collective("all-to-all", (), 64, 1, 1e9)
    mesh = place(H100, {"fsdp": 8, "tensor": 8})
    time = step_time(work(stray, flops=1e15), H100, mesh, PEAK._replace(overlap=1.0))
    assert time.exposed == pytest.approx(1e9 / (8 * 50e9))


def test_what_tensor_takes_part_in_is_waited_for() -> None:
    """450 MB over all chips of a node of eight at 450 GB/s, none of it hidden."""
    mesh = place(H100, {"fsdp": 2, "tensor": 4})
    both = Collective("all-reduce", ("fsdp", "tensor"), 8, 1, 450e6)
    time = step_time(work(both, flops=1e15), H100, mesh, PEAK._replace(overlap=1.0))
    assert (time.hidden, time.exposed) == (0, pytest.approx(1e-3))


@given(
    flops=st.floats(1e9, 1e18),
    memory=st.floats(0, 1e14),
    sent=st.floats(0, 1e13),
    name=st.sampled_from(sorted(CHIPS)),
    field=st.sampled_from(["matmul_flops", "memory_bandwidth", "link_bandwidth"]),
)
def test_more_work_is_never_faster_and_a_better_chip_never_slower(
    flops: float, memory: float, sent: float, name: str, field: str
) -> None:
    chip = CHIPS[name]
    mesh, shares = place(chip, {"fsdp": 16}), efficiency(chip)

    def seconds(more: float = 1.0, better: float = 1.0) -> float:
        need = work(gather("fsdp", 16, sent * more), flops=flops * more, memory=memory * more)
        improved = chip._replace(**{field: getattr(chip, field) * better})
        return step_time(need, improved, mesh, shares).seconds

    assert seconds(more=1.5) >= seconds()
    assert seconds(better=1.5) <= seconds() * (1 + 1e-12)


def test_course_of_a_run_by_hand() -> None:
    """2 M tokens in 10 s on 512 chips: 1 T tokens take 5 M seconds."""
    run = preset("llama3-8b")
    run = dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, sequence_length=2000),
        train=dataclasses.replace(run.train, batch_size=1000, steps=500_000),
    )
    topology = parse("v5p:8x8x8")
    whole = totals_of(run, topology, 10.0, price=2.0)
    assert whole.tokens_per_second == 2e5
    assert whole.days == pytest.approx(5e6 / 86400)
    assert whole.chip_hours == pytest.approx(512 * 5e6 / 3600)
    assert whole.cost == pytest.approx(2 * 512 * 5e6 / 3600)
    peak = 512 * V5P.matmul_flops
    assert whole.utilization == pytest.approx(2e5 * flops_per_token(run.model, 2000) / peak)
    assert totals_of(run, topology, 10.0).cost is None


def test_a_chip_without_published_runs_says_whose_efficiency_it_has() -> None:
    assert [name for name in CHIPS if fitted_on(CHIPS[name]) != name] == ["tpu7x", "h200", "b200"]
    assert efficiency(CHIPS["h200"]) == efficiency(H100)
