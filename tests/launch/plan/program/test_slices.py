"""Collectives as the compilers of TPUs and GPUs write them, in excerpts of programs that they made
of our train step."""

import pytest

from launch.plan.program.collectives import merged, sent_by
from launch.plan.program.executed import executed
from launch.plan.program.hlo import Program
from launch.plan.work import Collective

SLICES = """HloModule step, is_scheduled=true, num_partitions=4

FileNames
1 "/code/model/mlp.py"

FunctionNames
1 "Mlp.__call__"

FileLocations
1 {file_name_id=1 function_name_id=1 line=48 end_line=48 column=12 end_column=20}

StackFrames
1 {file_location_id=1 parent_frame_id=1}

%starting (p: bf16[64,64]) -> (bf16[64,64], bf16[128,64], u32[]) {
  %p = bf16[64,64]{1,0:T(8,128)(2,1)S(1)} parameter(0)
  %all-gather.1 = bf16[128,64]{1,0:T(8,128)(2,1)} all-gather(%p), channel_id=3, replica_groups={{0,2},{1,3}}, dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %custom-call.1 = (bf16[64,64]{1,0}, bf16[128,64]{1,0}, u32[]{:S(2)}) custom-call(%all-gather.1), custom_call_target="AsyncCollectiveStart"
}

%meanwhile (q: bf16[64,64], a: bf16[32,16]) -> (bf16[32,32], bf16[128,64]) {
  %a = bf16[32,16]{1,0} parameter(1)
  %convolution.1 = bf16[32,32]{1,0} convolution(%a, %a), dim_labels=bf_oi->bf
  %q = bf16[64,64]{1,0} parameter(0)
  %all-gather.2 = bf16[128,64]{1,0} all-gather(%q), channel_id=3, replica_groups={{0,2},{1,3}}, dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %both = (bf16[32,32]{1,0}, bf16[128,64]{1,0}) tuple(%convolution.1, %all-gather.2)
}

%waiting (r: bf16[64,64]) -> bf16[128,64] {
  %r = bf16[64,64]{1,0} parameter(0)
  %all-gather.3 = bf16[128,64]{1,0} all-gather(%r), channel_id=3, replica_groups={{0,2},{1,3}}, dimensions={0}, use_global_device_ids=true, frontend_attributes={chain_id="0"}
  ROOT %custom-call.2 = bf16[128,64]{1,0} custom-call(%r, %all-gather.3), custom_call_target="AsyncCollectiveDone"
}

%all-reduce-scatter.4 (s: bf16[128,64]) -> bf16[64,64] {
  %s = bf16[128,64]{1,0} parameter(0)
  %all-reduce.4 = bf16[128,64]{1,0} all-reduce(%s), channel_id=1, replica_groups={{0,2},{1,3}}, use_global_device_ids=true, to_apply=%add
  %zero = s32[] constant(0)
  ROOT %part = bf16[64,64]{1,0} dynamic-slice(%all-reduce.4, %zero, %zero), dynamic_slice_sizes={64,64}
}

ENTRY %main (w: bf16[64,64], x: bf16[32,16]) -> bf16[64,64] {
  %w = bf16[64,64]{1,0} parameter(0)
  %x = bf16[32,16]{1,0} parameter(1)
  %async-collective-start = (bf16[64,64]{1,0}, bf16[128,64]{1,0}, u32[]{:S(2)}) fusion(%w), kind=kCustom, calls=%starting
  %fusion.1 = (bf16[32,32]{1,0}, bf16[128,64]{1,0}) fusion(%w, %x), kind=kOutput, calls=%meanwhile
  %async-collective-done = bf16[128,64]{1,0} fusion(%w), kind=kCustom, calls=%waiting
  %fusion.2 = bf16[64,64]{1,0} fusion(%async-collective-done), kind=kCustom, calls=%all-reduce-scatter.4, metadata={op_name="dot_general" stack_frame_id=1}
  %bitcast.1 = bf16[8,8,64]{2,1,0} bitcast(%fusion.2)
  %after-all = token[] after-all()
  %send = (bf16[8,8,64]{2,1,0}, u32[], token[]) send(%bitcast.1, %after-all), channel_id=8, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_host_transfer_rendezvous="all-reduce.76_0",_xla_megascale_reduce_operation="SUM",_xla_megascale_target="{1,2}x{0:3}",_xla_megascale_transfer_type="ALL_REDUCE"}
  %recv = (bf16[8,8,64]{2,1,0}, u32[], token[]) recv(%after-all), channel_id=9, is_host_transfer=true, frontend_attributes={_xla_host_transfer_handler_name="xla_megascale_runtime",_xla_megascale_transfer_type="ALL_REDUCE"}
  %send-done = token[] send-done(%send), channel_id=8, is_host_transfer=true
  %recv-done = (bf16[8,8,64]{2,1,0}, token[]) recv-done(%recv), channel_id=9, is_host_transfer=true
  %get-tuple-element.1 = bf16[8,8,64]{2,1,0} get-tuple-element(%recv-done), index=0
  ROOT %bitcast.2 = bf16[64,64]{1,0} bitcast(%get-tuple-element.1)
}
"""  # noqa: E501
MESH = {"replica": 2, "stage": 1, "fsdp": 2, "tensor": 2}
GATHERED = 128 * 64 * 2


def collectives_in(text: str, sizes: dict[str, int]) -> list[Collective]:
    program = Program(text)
    return merged(sent_by(program, executed(program), sizes))


def test_slices_sum_over_replica_and_a_chain_of_fusions_gathers_once() -> None:
    line = "model/mlp.py:48"
    half = GATHERED / 2
    assert sorted(collectives_in(SLICES, MESH)) == [
        Collective("all-gather", ("fsdp",), 2, 1, half, ""),
        Collective("all-reduce", ("replica",), 2, 1, 2 * half / 2, line, apart=True),
        Collective("reduce-scatter", ("fsdp",), 2, 1, half, line),
    ]


def test_groups_are_places_inside_a_slice() -> None:
    whole = SLICES.replace("{{0,2},{1,3}}, use_global_device_ids=true, to_apply", "{}, to_apply")
    (scattered,) = [each for each in collectives_in(whole, MESH) if each.kind == "reduce-scatter"]
    assert (scattered.axes, scattered.group) == (("fsdp", "tensor"), 4)


def test_other_ways_between_chips_are_refused() -> None:
    permuted = SLICES.replace('type="ALL_REDUCE"', 'type="ONE_TO_ONE"')
    with pytest.raises(ValueError, match="send of the compiled program must sum over slices"):
        collectives_in(permuted, MESH)
    other = SLICES.replace("xla_megascale_runtime", "a_host")
    with pytest.raises(ValueError, match="send of the compiled program must be a collective"):
        collectives_in(other, MESH)


def test_a_mesh_that_is_not_the_programs_is_refused() -> None:
    with pytest.raises(ValueError, match="must be that of the compiled program"):
        collectives_in(SLICES, {"fsdp": 2, "tensor": 3})
