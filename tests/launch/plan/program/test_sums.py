"""Gathers and scatters that TPU programs make as sums over all chips, from the text of one."""

import pytest

from launch.plan.program.compiled import work_in
from launch.plan.program.hlo import Program
from launch.plan.traffic import Traffic, TrafficRow, traffic_lines
from launch.plan.work import Collective

SUM = "replica_groups={{0,1,2,3}}, to_apply=%add"
HEAD = "HloModule sums, num_partitions=4\n\n"
WRITE = """%write (a: bf16[8,4], p: bf16[2,4], i: s32[]) -> bf16[8,4] {
  %a = bf16[8,4] parameter(0)
  %p = bf16[2,4] parameter(1)
  %i = s32[] parameter(2)
  %o = s32[] constant(0)
  %written = bf16[8,4] dynamic-update-slice(%a, %p, %i, %o)
  ROOT %seen = bf16[8,4] bitcast(%written)
}

"""
READ = """%read (w: bf16[8,4], i: s32[]) -> (bf16[2,4], f32[]) {
  %w = bf16[8,4] parameter(0)
  %i = s32[] parameter(1)
  %o = s32[] constant(0)
  %seen = bf16[8,4] bitcast(%w)
  %part = bf16[2,4] dynamic-slice(%seen, %i, %o), dynamic_slice_sizes={2,4}
  %norm = f32[] custom-call(%part), custom_call_target="norm"
  ROOT %both = (bf16[2,4], f32[]) tuple(%part, %norm)
}

"""
ENTRY = "ENTRY %main (p: bf16[2,4], w: bf16[8,4], i: s32[]) -> bf16[8,4] {\n"
PARAMETERS = """  %p = bf16[2,4] parameter(0)
  %w = bf16[8,4] parameter(1)
  %i = s32[] parameter(2)
  %o = s32[] constant(0)
  %zero = bf16[] constant(0)
  %zeros = bf16[8,4] broadcast(%zero), dimensions={}
"""


def only_collective(*lines: str) -> Collective:
    """The only collective of a program with these lines."""
    body = "".join(f"  {line}\n" for line in lines)
    (result,) = work_in(
        Program(HEAD + WRITE + READ + ENTRY + PARAMETERS + body + "}\n"), {"fsdp": 4}
    ).work.collectives
    return result


@pytest.mark.parametrize(
    "maker",
    [
        "dynamic-update-slice(%zeros, %p, %i, %o)",
        "fusion(%zeros, %p, %i), kind=kLoop, calls=%write",
    ],
)
def test_a_sum_of_arrays_with_a_part_each_is_a_gather_of_twice_the_bytes(maker: str) -> None:
    gather = only_collective(
        f"%own = bf16[8,4] {maker}", f"ROOT %sum = bf16[8,4] all-reduce(%own), {SUM}"
    )
    assert (gather.kind, gather.axes, gather.count) == ("all-gather", ("fsdp",), 1)
    assert gather.bytes == 2 * 8 * 4 * 2 * 3 / 4


@pytest.mark.parametrize(
    "lines",
    [
        (
            "%read.1 = (bf16[2,4], f32[]) fusion(%sum, %i), kind=kLoop, calls=%read",
            "ROOT %mine = bf16[2,4] get-tuple-element(%read.1), index=0",
        ),
        ("ROOT %mine = bf16[2,4] dynamic-slice(%sum, %i, %o), dynamic_slice_sizes={2,4}",),
    ],
)
def test_a_sum_of_which_each_chip_reads_a_part_is_a_scatter(lines: tuple[str, ...]) -> None:
    scatter = only_collective(f"%sum = bf16[8,4] all-reduce(%w), {SUM}", *lines)
    assert (scatter.kind, scatter.bytes) == ("reduce-scatter", 2 * 8 * 4 * 2 * 3 / 4)


@pytest.mark.parametrize(
    "lines",
    [
        (f"ROOT %sum = bf16[8,4] all-reduce(%w), {SUM}",),
        (
            "%own = bf16[8,4] dynamic-update-slice(%w, %p, %i, %o)",
            f"ROOT %sum = bf16[8,4] all-reduce(%own), {SUM}",
        ),
        (
            "%own = bf16[8,4] fusion(%w, %p, %i), kind=kLoop, calls=%write",
            f"ROOT %sum = bf16[8,4] all-reduce(%own), {SUM}",
        ),
        (
            f"%sum = bf16[8,4] all-reduce(%w), {SUM}",
            "%mine = bf16[2,4] dynamic-slice(%sum, %i, %o), dynamic_slice_sizes={2,4}",
            "ROOT %more = bf16[8,4] add(%sum, %sum)",
        ),
    ],
)
def test_other_sums_are_sums(lines: tuple[str, ...]) -> None:
    assert only_collective(*lines).kind == "all-reduce"


def test_a_ratio_out_of_all_measure_fits_its_column() -> None:
    row = TrafficRow("all-reduce", ("fsdp",), 4, 1, 785.0 * 2**30, 5.0 * 2**20)
    lines = traffic_lines(Traffic([row], [], [], [], {}))
    assert lines[2].endswith(" > 999") and max(map(len, lines)) <= 80
