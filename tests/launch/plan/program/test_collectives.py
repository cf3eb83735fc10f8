"""What only TPU programs have, from the text of one."""

import pytest

from launch.plan.program.compiled import work_in
from launch.plan.program.executed import executed
from launch.plan.program.hlo import Program
from launch.plan.program.memory_traffic import memory_traffic
from tests.launch.plan.program.sources import sources

GATHER = (
    "all-gather(%p), channel_id=1, replica_groups={{0,1,2,3}}, dimensions={1}, "
    'use_global_device_ids=true, frontend_attributes={chain_id="0"}'
)
START = 'custom_call_target="AsyncCollectiveStart"'
# One gather of [8, 8], begun in one fusion, going on during a product in two, ended in the last.
SPREAD = f"""HloModule spread, num_partitions=4

%begin (p: bf16[8,2]) -> (bf16[8,2], bf16[8,8]) {{
  %p = bf16[8,2] parameter(0)
  %gather.1 = bf16[8,8] {GATHER}
  ROOT %start = (bf16[8,2], bf16[8,8]) custom-call(%gather.1), {START}
}}

%during (p: bf16[8,2], w: bf16[8,8], x: bf16[16,8], y: bf16[8,8]) -> (bf16[16,8], bf16[8,8]) {{
  %p = bf16[8,2] parameter(0)
  %w = bf16[8,8] parameter(1)
  %x = bf16[16,8] parameter(2)
  %y = bf16[8,8] parameter(3)
  %gather.2 = bf16[8,8] {GATHER}
  %product = bf16[16,8] dot(%x, %y), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}
  ROOT %both = (bf16[16,8], bf16[8,8]) tuple(%product, %gather.2)
}}

%end (p: bf16[8,2], w: bf16[8,8]) -> bf16[8,8] {{
  %p = bf16[8,2] parameter(0)
  %w = bf16[8,8] parameter(1)
  %gather.3 = bf16[8,8] {GATHER}
  ROOT %done = bf16[8,8] custom-call(%w, %gather.3), custom_call_target="AsyncCollectiveDone"
}}

ENTRY %main (p: bf16[8,2], x: bf16[16,8], y: bf16[8,8]) -> bf16[8,8] {{
  %p = bf16[8,2] parameter(0)
  %x = bf16[16,8] parameter(1)
  %y = bf16[8,8] parameter(2)
  %begun = (bf16[8,2], bf16[8,8]) fusion(%p), kind=kCustom, calls=%begin
  %part = bf16[8,2] get-tuple-element(%begun), index=0
  %whole = bf16[8,8] get-tuple-element(%begun), index=1
  %during.1 = (bf16[16,8], bf16[8,8]) fusion(%part, %whole, %x, %y), kind=kCustom, calls=%during
  %x.2 = bf16[16,8] get-tuple-element(%during.1), index=0
  %whole.2 = bf16[8,8] get-tuple-element(%during.1), index=1
  %during.2 = (bf16[16,8], bf16[8,8]) fusion(%part, %whole.2, %x.2, %y), kind=kCustom, calls=%during
  %whole.3 = bf16[8,8] get-tuple-element(%during.2), index=1
  ROOT %ended = bf16[8,8] fusion(%part, %whole.3), kind=kCustom, calls=%end
}}
"""


def test_a_gather_spread_over_fusions_counts_once() -> None:
    result = work_in(Program(SPREAD), {"fsdp": 4})
    (gather,) = result.work.collectives
    assert (gather.kind, gather.axes, gather.count) == ("all-gather", ("fsdp",), 1)
    assert gather.bytes == 3 * 8 * 2 * 2
    assert result.work.matmul_flops == 2 * (2 * 16 * 8 * 8)


def test_what_has_lost_its_line_has_that_of_the_maker_of_its_operand() -> None:
    """As where libtpu puts in place what it scattered of a padded array."""
    ring = "source_target_pairs={{0,1},{1,2},{2,3},{3,0}}"
    text = f"""HloModule lines, num_partitions=4

{sources(1, 44)}

%scatter (x: bf16[8,8]) -> bf16[2,8] {{
  %x = bf16[8,8] parameter(0)
  ROOT %part = bf16[2,8] slice(%x), slice={{[0:2], [0:8]}}
}}

ENTRY %main (x: bf16[8,8]) -> bf16[1,8] {{
  %x = bf16[8,8] parameter(0), metadata={{stack_frame_id=1}}
  %product = bf16[8,8] dot(%x, %x), lhs_contracting_dims={{1}}, rhs_contracting_dims={{0}}, metadata={{stack_frame_id=2}}
  %copy = bf16[8,8] copy(%product)
  %fusion = bf16[2,8] fusion(%copy), kind=kCustom, calls=%scatter
  %slice = bf16[1,8] slice(%fusion), slice={{[0:1], [0:8]}}
  ROOT %permute = bf16[1,8] collective-permute(%slice), channel_id=1, {ring}
}}
"""  # noqa: E501
    (permute,) = work_in(Program(text), {"fsdp": 4}).work.collectives
    assert (permute.kind, permute.where) == ("collective-permute", "model/mlp.py:44")


def test_its_arrays_are_moved_once() -> None:
    """The part is read and written on and the whole written where it begins; the products during
    it read and write their own."""
    program = Program(SPREAD)
    moved = {
        each.instruction.name: memory_traffic(each.instruction)
        for each in executed(program)
        if each.instruction.opcode == "fusion"
    }
    product = 2 * (16 * 8 + 8 * 8 + 16 * 8)
    assert moved["begun"] == pytest.approx(2 * (8 * 2 + 8 * 2 + 8 * 8))
    assert (moved["during.1"], moved["during.2"], moved["ended"]) == (product, product, 0)
