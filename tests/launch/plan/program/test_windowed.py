"""A product that a TPU overlaps with the gather of its weight: shards go round a ring both ways, in
a loop that is unrolled once. Shortened from a step of llama3-8b compiled for 64 chips of v5p."""

from launch.plan.program.collectives import merged, sent_by
from launch.plan.program.compiled import work_in
from launch.plan.program.executed import executed
from launch.plan.program.hlo import Program
from launch.plan.work import Collective
from tests.launch.plan.program.sources import sources

AHEAD = "source_target_pairs={{0,2},{2,4},{4,6},{6,0},{1,3},{3,5},{5,7},{7,1}}"
BACK = "source_target_pairs={{0,6},{2,0},{4,2},{6,4},{1,7},{3,1},{5,3},{7,5}}"
ASKED = 'metadata={op_name="jit(train_step)/while/body/dot_general" stack_frame_id=1}'
SHARD = "bf16[1,256,64]{2,1,0:T(8,128)(2,1)}"
STARTED = f"({SHARD}, {SHARD}, u32[]{{:S(2)}}, u32[]{{:S(2)}}) collective-permute-start"
STATE = f"({SHARD}, bf16[512,64]{{1,0}}, {SHARD}, u32[]{{:T(128)}}, u32[]{{:T(128)}})"
WINDOWED = f"""HloModule windowed, is_scheduled=true, num_partitions=8

{sources(44)}

%part (a: bf16[512,256], w: bf16[1,256,64]) -> bf16[512,64] {{
  %a = bf16[512,256]{{1,0}} parameter(0)
  %w = {SHARD} parameter(1)
  %bitcast = bf16[256,64]{{1,0}} bitcast(%w)
  ROOT %convolution.1 = bf16[512,64]{{1,0}} convolution(%a, %bitcast), dim_labels=bf_io->bf
}}

%wide.windowed_dot_general_body_ag.1.clone.sunk (state: x) -> x {{
  %state = {STATE} parameter(0)
  %back = {SHARD} get-tuple-element(%state), index=0
  %sum = bf16[512,64]{{1,0}} get-tuple-element(%state), index=1
  %ahead = {SHARD} get-tuple-element(%state), index=2
  %i = u32[]{{:T(128)}} get-tuple-element(%state), index=3
  %kept = u32[]{{:T(128)}} get-tuple-element(%state), index=4
  %two = u32[]{{:T(128)}} constant(2)
  %start.1 = {STARTED}(%back), channel_id=10, {BACK}, {ASKED}
  %start.2 = {STARTED}(%ahead), channel_id=11, {AHEAD}, {ASKED}
  %rows = bf16[512,256]{{1,0}} broadcast(%i), dimensions={{}}
  %fusion.1 = bf16[512,64]{{1,0}} fusion(%rows, %back), kind=kOutput, calls=%part, {ASKED}
  %fusion.2 = bf16[512,64]{{1,0}} fusion(%rows, %ahead), kind=kOutput, calls=%part, {ASKED}
  %done.1 = {SHARD} collective-permute-done(%start.1), {ASKED}
  %done.2 = {SHARD} collective-permute-done(%start.2), {ASKED}
  %next = u32[]{{:T(128)}} add(%i, %two)
  ROOT %tuple.1 = {STATE} tuple(%done.1, %fusion.2, %done.2, %next, %kept)
}}

%wide.windowed_dot_general_cond_ag.1.clone (state.1: x) -> pred[] {{
  %constant.4 = u32[]{{:T(128)}} constant(4), {ASKED}
  %state.1 = {STATE} parameter(0)
  %i.1 = u32[]{{:T(128)}} get-tuple-element(%state.1), index=3
  ROOT %compare = pred[]{{:T(512)}} compare(%i.1, %constant.4), direction=LT, {ASKED}
}}

ENTRY %main (weight: bf16[1,256,64]) -> bf16[512,64] {{
  %weight = {SHARD} parameter(0)
  %constant.0 = u32[]{{:T(128)}} constant(0)
  %copy.0 = u32[]{{:T(128)}} copy(%constant.0)
  %constant.2 = u32[]{{:T(128)}} constant(2)
  %custom-call.88 = bf16[512,64]{{1,0}} custom-call(), custom_call_target="AllocateBuffer"
  %start.0 = {STARTED}(%weight), channel_id=9, {AHEAD}, {ASKED}
  %done.0 = {SHARD} collective-permute-done(%start.0), {ASKED}
  %tuple.0 = {STATE} tuple(%weight, %custom-call.88, %done.0, %copy.0, %constant.2)
  %while.1 = {STATE} while(%tuple.0), condition=%wide.windowed_dot_general_cond_ag.1.clone, body=%wide.windowed_dot_general_body_ag.1.clone.sunk, {ASKED}
  %start.9 = {STARTED}(%weight), channel_id=12, {AHEAD}, metadata={{op_name="roll"}}
  %done.9 = {SHARD} collective-permute-done(%start.9)
  ROOT %get-tuple-element.9 = bf16[512,64]{{1,0}} get-tuple-element(%while.1), index=1
}}
"""  # noqa: E501
MESH = {"replica": 1, "fsdp": 4, "tensor": 2}
BYTES = 256 * 64 * 2


def collectives_in(text: str) -> list[Collective]:
    program = Program(text)
    return merged(sent_by(program, executed(program), MESH))


def test_permutes_of_a_windowed_product_are_the_gather_they_replace() -> None:
    """Two in each of two trips and the one that the loop begins with; another stays a permute."""
    assert collectives_in(WINDOWED) == [
        Collective("all-gather", ("fsdp",), 4, 1, (2 * 2 + 1) * BYTES, "model/mlp.py:44"),
        Collective("collective-permute", ("fsdp",), 4, 1, BYTES, ""),
    ]
    assert work_in(Program(WINDOWED), MESH).work.matmul_flops == 2 * 2 * (2 * 512 * 256 * 64)


def test_what_such_a_loop_ends_with_is_scattered() -> None:
    scattered = WINDOWED.replace("body_ag", "body_rs").replace(
        "collective-permute-start(%weight), channel_id=12",
        "collective-permute-start(%ended), channel_id=12",
    )
    ended = f"  %ended = {SHARD} get-tuple-element(%while.1), index=0\n  %start.9"
    result = collectives_in(scattered.replace("  %start.9", ended))
    assert [(each.kind, each.count, each.bytes) for each in result] == [
        ("reduce-scatter", 1, (2 * 2 + 2) * BYTES)
    ]
