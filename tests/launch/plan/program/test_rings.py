"""Products on a ring of four TPUs, where the loop that sends shards round it is unrolled. Shortened
from a step of two layers of llama3-8b compiled for 4 chips of v5e."""

import dataclasses

import pytest

from launch.plan.program.collectives import merged, sent_by
from launch.plan.program.compiled import work_in
from launch.plan.program.executed import executed
from launch.plan.program.hlo import Program
from launch.plan.traffic import traffic
from launch.plan.work import Collective
from launch.presets.preset import preset
from tests.families import LLAMA
from tests.launch.plan.program.sources import sources
from tests.models import TRAIN

AHEAD = "source_target_pairs={{0,1},{1,2},{2,3},{3,0}}"
BACK = "source_target_pairs={{0,3},{1,0},{2,1},{3,2}}"
ASKED = 'metadata={op_name="jit(train_step)/jvp()/closed_call/dot_general" stack_frame_id=1}'
SHARD = "bf16[16,64]{1,0:T(8,128)(2,1)}"
STARTED = f"({SHARD}, {SHARD}, u32[]{{:S(2)}}) collective-permute-start"
FUSED = f"""HloModule ring, is_scheduled=true, num_partitions=4

{sources(44)}

%write (whole: bf16[32,64], arrived: bf16[16,64]) -> bf16[32,64] {{
  %whole = bf16[32,64]{{1,0}} parameter(0)
  %arrived = {SHARD} parameter(1)
  %o = s32[] constant(0)
  ROOT %written = bf16[32,64]{{1,0}} dynamic-update-slice(%whole, %arrived, %o, %o)
}}

%part (a: bf16[8,16], w: bf16[16,64]) -> bf16[8,64] {{
  %a = bf16[8,16]{{1,0}} parameter(0)
  %w = {SHARD} parameter(1)
  ROOT %convolution = bf16[8,64]{{1,0}} convolution(%a, %w), dim_labels=bf_io->bf
}}

%add (arrived: bf16[16,64], own: bf16[16,64]) -> bf16[16,64] {{
  %arrived = {SHARD} parameter(0)
  %own = {SHARD} parameter(1)
  %wide = f32[16,64]{{1,0}} convert(%arrived)
  %wide.1 = f32[16,64]{{1,0}} convert(%own)
  %sum = f32[16,64]{{1,0}} add(%wide, %wide.1)
  ROOT %narrow = {SHARD} convert(%sum)
}}

%both (ahead: bf16[16,64], back: bf16[16,64], own: bf16[16,64]) -> (bf16[16,64], bf16[16,64]) {{
  %ahead = {SHARD} parameter(0)
  %back = {SHARD} parameter(1)
  %own = {SHARD} parameter(2)
  %sum.1 = {SHARD} fusion(%ahead, %own), kind=kLoop, calls=%add
  %sum.2 = {SHARD} fusion(%back, %own), kind=kLoop, calls=%add
  ROOT %sums = ({SHARD}, {SHARD}) tuple(%sum.1, %sum.2)
}}

"""
# A shard goes one place back and two ahead; what arrives is multiplied, or put together first.
GATHER = f"""{FUSED}ENTRY %main (a: bf16[8,16], w: bf16[16,64], o: bf16[32,64]) -> bf16[8,64] {{
  %a = bf16[8,16]{{1,0}} parameter(0)
  %w = bf16[1,16,64]{{2,1,0}} parameter(1)
  %o = bf16[32,64]{{1,0}} parameter(2)
  %shard = {SHARD} bitcast(%w)
  %start.1 = {STARTED}(%shard), channel_id=3, {AHEAD}, {ASKED}
  %start.2 = {STARTED}(%shard), channel_id=4, {BACK}, {ASKED}
  %done.1 = {SHARD} collective-permute-done(%start.1), {ASKED}
  %copy-start = ({SHARD}, {SHARD}, u32[]{{:S(2)}}) copy-start(%done.1)
  %copy-done = {SHARD} copy-done(%copy-start)
  %start.3 = {STARTED}(%copy-done), channel_id=5, {AHEAD}, {ASKED}
  %done.2 = {SHARD} collective-permute-done(%start.2), {ASKED}
  %done.3 = {SHARD} collective-permute-done(%start.3), {ASKED}
  %put = bf16[32,64]{{1,0}} fusion(%o, %done.3), kind=kLoop, calls=%write
  %product.1 = bf16[8,64]{{1,0}} fusion(%a, %done.1), kind=kOutput, calls=%part, {ASKED}
  ROOT %product.2 = bf16[8,64]{{1,0}} fusion(%a, %done.2), kind=kOutput, calls=%part, {ASKED}
}}
"""
# Nothing goes both ways, a sum is made of each, and they meet where one goes
# ahead once more, from the small memory, which it is copied to.
SCATTER = f"""{FUSED}ENTRY %main (own: bf16[16,64]) -> bf16[16,64] {{
  %own = {SHARD} parameter(0)
  %zero = bf16[] constant(0)
  %zeros = {SHARD} broadcast(%zero), dimensions={{}}
  %start.1 = {STARTED}(%zeros), channel_id=118, {BACK}, {ASKED}
  %start.2 = {STARTED}(%zeros), channel_id=119, {AHEAD}, {ASKED}
  %done.1 = {SHARD} collective-permute-done(%start.1), {ASKED}
  %done.2 = {SHARD} collective-permute-done(%start.2), {ASKED}
  %sums.1 = ({SHARD}, {SHARD}) fusion(%done.2, %done.1, %own), kind=kLoop, calls=%both
  %sum.1 = {SHARD} get-tuple-element(%sums.1), index=0
  %sum.2 = {SHARD} get-tuple-element(%sums.1), index=1
  %start.3 = {STARTED}(%sum.1), channel_id=121, {AHEAD}, {ASKED}
  %start.4 = {STARTED}(%sum.2), channel_id=120, {BACK}, {ASKED}
  %done.3 = {SHARD} collective-permute-done(%start.3), {ASKED}
  %sum.3 = {SHARD} fusion(%done.3, %own), kind=kLoop, calls=%add
  %slice-start = (({SHARD}), bf16[16,64]{{1,0:S(1)}}, s32[]) slice-start(%sum.3), slice={{[0:16], [0:64]}}
  %slice-done = bf16[16,64]{{1,0:S(1)}} slice-done(%slice-start)
  %pieces = bf16[16,64]{{1,0:S(1)}} custom-call(%slice-done), custom_call_target="ConcatBitcast"
  %start.5 = {STARTED}(%pieces), channel_id=122, {AHEAD}, {ASKED}
  %done.4 = {SHARD} collective-permute-done(%start.4), {ASKED}
  %done.5 = {SHARD} collective-permute-done(%start.5), {ASKED}
  ROOT %sum = {SHARD} add(%done.4, %done.5)
}}
"""  # noqa: E501
MESH = {"replica": 1, "fsdp": 4, "tensor": 1}
BYTES = 16 * 64 * 2


def collectives_in(text: str) -> list[Collective]:
    program = Program(text)
    return merged(sent_by(program, executed(program), MESH))


@pytest.mark.parametrize(
    ("text", "kind", "parts"), [(GATHER, "all-gather", 3), (SCATTER, "reduce-scatter", 5)]
)
def test_permutes_round_a_short_ring_are_a_gather_or_scatter(
    text: str, kind: str, parts: int
) -> None:
    (result,) = collectives_in(text)
    assert (result.kind, result.axes, result.group) == (kind, ("fsdp",), 4)
    assert (result.count, result.bytes, result.where) == (1, parts * BYTES, "model/mlp.py:44")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("/dot_general", "/roll"),  # made for no product
        ("/dot_general", "/dot_general/roll"),
        ("{0,1},{1,2},{2,3},{3,0}", "{0,1},{1,2},{2,3}"),  # an edge that is handed on
        ("{0,1},{1,2},{2,3},{3,0}", "{0,2},{1,3},{2,0},{3,1}"),  # two places at once
        ("{0,1},{1,2},{2,3},{3,0}", "{0,1},{1,3},{2,0},{3,2}"),  # no ring of neighbours
    ],
)
def test_other_permutes_are_their_own(old: str, new: str) -> None:
    permutes = [
        each for each in collectives_in(GATHER.replace(old, new)) if each.kind != "all-gather"
    ]
    changed = 3 if old.startswith("/") else 2
    assert [(each.kind, each.count, each.bytes) for each in permutes] == [
        ("collective-permute", changed, changed * BYTES)
    ]


def test_what_is_gathered_so_has_to_be_a_weight() -> None:
    run = preset("tiny")
    data = dataclasses.replace(run.data, sequence_length=16)
    run = dataclasses.replace(run, model=LLAMA, train=TRAIN, data=data)
    result = work_in(Program(GATHER), MESH)
    (gather,) = traffic(result, run, MESH).unasked
    assert (gather.kind, gather.bytes) == ("all-gather", 3 * BYTES)
    wide = dataclasses.replace(LLAMA, embed_dim=64, mlp_dim=64)
    assert traffic(result, dataclasses.replace(run, model=wide), MESH).unasked == []
