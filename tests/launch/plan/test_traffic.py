"""Traffic and work of real train steps, compiled for 8 devices, against numbers found by hand."""

import dataclasses

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from launch.plan.program.compiled import ProgramWork, work_in
from launch.plan.program.hlo import Program
from launch.plan.traffic import Traffic, traffic, traffic_lines
from launch.plan.work import Collective
from launch.presets.preset import preset
from launch.run.build import fresh_state, step_arguments
from model.families.decoder_config import DecoderConfig
from model.flops import flops_per_token, matrix_parameters
from tests.families import LLAMA, QUICK
from tests.launch.plan.program.sources import sources
from tests.models import TRAIN, mesh_of, shapes_of
from train.config import TrainConfig
from train.step import make_train_step

T = 16
L, D, F, N, H, V = 2, 16, 32, 8, 4, 32
ITEM = 4  # bytes of a float32
LAYERS = dataclasses.replace(LLAMA, remat="full")


def program_of(model: DecoderConfig, train: TrainConfig, **sizes: int) -> Program:
    with jax.set_mesh(mesh_of(**sizes)):
        state = jax.eval_shape(fresh_state(model, train))
        arguments = step_arguments(state, shapes_of(train.batch_size, T))
        lowered = make_train_step(train).lower(*arguments)
        text = lowered.compile(compiler_options=QUICK).as_text()
    assert text is not None
    return Program(text)


def by_kind(program: ProgramWork, kind: str, *axes: str) -> list[Collective]:
    rows = program.work.collectives
    return [row for row in rows if row.kind == kind and row.axes == axes]


def compared(
    program: ProgramWork, model: DecoderConfig, train: TrainConfig, sizes: dict[str, int]
) -> Traffic:
    run = preset("tiny")
    data = dataclasses.replace(run.data, sequence_length=T)
    return traffic(program, dataclasses.replace(run, model=model, train=train, data=data), sizes)


def expected_flops(model: DecoderConfig, tokens: int) -> float:
    """Of a chip: six a parameter and token; scores are made whole, also where a mask hides half of
    them; of each layer all but its last product is computed again."""
    scores = 4 * N * H * T
    again = 2 * (matrix_parameters(model) / L - D * F) + scores
    return tokens * (flops_per_token(model, T) + L * (3 * scores / 2 + again))


def test_fsdp_gathers_each_matrix_twice_in_every_micro_batch() -> None:
    model = dataclasses.replace(LAYERS, num_kv_heads=N)
    train = dataclasses.replace(TRAIN, batch_size=16, accumulation=2)
    sizes = {"fsdp": 8}
    program = program_of(model, train, **sizes)
    program = work_in(program, sizes)
    square = 2 * L * 2 * D * D * ITEM * 7 / 8  # micro-batches x layers x gathers
    gathers = by_kind(program, "all-gather", "fsdp")
    assert {row.group for row in gathers} == {8}
    # N H and F are twice D. Tables are the same for both micro-batches: gathered before the loop,
    # once for each use.
    tables = 2 * V * D * ITEM * 7 / 8
    assert sum(row.bytes for row in gathers) == (4 + 3) * 2 * square + tables
    assert sum(row.count for row in gathers) == 2 * L * 2 * 7 + 2
    attention = [
        row.bytes for row in gathers if row.where.startswith("model/attention/attention.py:")
    ]
    assert sum(attention) == 4 * 2 * square
    # XLA's CPU backend sums whole gradients where others scatter them.
    gradients = sum(row.bytes for row in by_kind(program, "all-reduce", "fsdp"))
    assert gradients // 1000 == 2 * (7 * 2 * square / 2 + 2 * 2 * L * D * ITEM * 7 / 8) // 1000
    assert program.work.matmul_flops == expected_flops(model, 16 * T // 8)
    comparison = compared(program, model, train, sizes)
    assert comparison.unasked == [] and comparison.uncounted == {}


def test_tensor_sums_activations() -> None:
    model = dataclasses.replace(LAYERS, num_kv_heads=N)
    train = dataclasses.replace(TRAIN, batch_size=16, accumulation=2)
    sizes = {"replica": 1, "fsdp": 2, "tensor": 4}
    program = work_in(program_of(model, train, **sizes), sizes)
    rows = by_kind(program, "all-reduce", "tensor")
    hidden = (16 // 2 // 2) * T * D * ITEM * 2 * 3 / 4
    (output,) = [row for row in rows if row.bytes == 2 * L * 2 * hidden and row.count == 2 * L * 2]
    assert output.where.startswith("model/attention/attention.py:")  # w_o, forward and again
    assert output.group == 4
    (lookup,) = [row for row in rows if row.where.startswith("model/families/decoder.py:")]
    assert (lookup.count, lookup.bytes) == (2, 2 * hidden)
    chunks = 2 * (16 // 2 // 2) * T // TRAIN.loss_chunk
    (logits,) = [row for row in rows if row.where.startswith("train/loss.py:")]
    assert logits.count == 3 * chunks
    assert logits.bytes == 2 * hidden + chunks * 3 * TRAIN.loss_chunk * ITEM * 2 * 3 / 4
    assert program.work.matmul_flops == expected_flops(model, 16 * T // 2) / 4
    comparison = compared(program, model, train, sizes)
    assert comparison.unasked == []
    needed = {need.what: need.bytes for need in comparison.needs}
    assert needed["activations, forward"] == 2 * (2 * L + 1) * hidden
    assert needed["logits"] == logits.bytes


def test_what_no_layout_asks_for_is_printed_with_its_line() -> None:
    mesh = mesh_of(fsdp=4, tensor=2)

    def moved(x: jax.Array, w: jax.Array) -> tuple[jax.Array, ...]:
        """Rows become columns, activations are gathered, and a weight over another axis."""
        rows = jax.sharding.reshard(x, PartitionSpec(None, "fsdp"))
        whole = PartitionSpec(None, None)
        return rows * 2, jax.sharding.reshard(x * 3, whole), jax.sharding.reshard(w, whole)

    def array(rows: int, columns: int, axis: str) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, PartitionSpec(axis, None))
        return jax.ShapeDtypeStruct((rows, columns), np.float32, sharding=sharding)

    with jax.set_mesh(mesh):
        lowered = jax.jit(moved).lower(array(64, 32, "fsdp"), array(D, F // 2, "tensor"))
        text = lowered.compile().as_text()
    assert text is not None
    sizes = dict(mesh.shape)
    comparison = compared(work_in(Program(text), sizes), LAYERS, TRAIN, sizes)
    assert {(each.kind, *each.axes): each.bytes for each in comparison.unasked} == {
        ("all-to-all", "fsdp"): 64 * 32 / 4 * ITEM * 3 / 4,
        ("all-gather", "fsdp"): 64 * 32 * ITEM * 3 / 4,
        ("all-gather", "tensor"): D * F // 2 * ITEM * 1 / 2,
    }
    assert comparison.excess == [], "which is of sums alone"
    # JAX 0.12's compiler does not say where it gathers an argument.
    lines = [each.where for each in comparison.unasked if each.where]
    assert len(lines) >= 2 and all("test_traffic.py:" in line for line in lines)
    lines = traffic_lines(comparison)
    flagged = lines[lines.index("the layout does not ask for") + 1 :]
    assert flagged[0].startswith("all-gather over fsdp")
    assert flagged[1].strip() == comparison.unasked[0].where
    assert lines[0].endswith("lower bound is arithmetic") and comparison.record["origins"]
    assert max(map(len, lines)) <= 80


def test_a_device_alone_has_no_table() -> None:
    alone = Traffic([], [], [], [], {"kernel": 3})
    first, *rest = traffic_lines(alone)
    assert first == "traffic of a step: none, as a device alone sends nothing"
    assert any("kernel" in line for line in rest), "what is not counted is said all the same"


def test_a_sum_in_two_halves_is_asked_for() -> None:
    """Programs of several slices scatter inside a slice, sum over slices and gather again."""
    groups = "replica_groups={{0,1},{2,3}}, dimensions={0}"
    text = f"""HloModule halves, num_partitions=4

ENTRY %main (x: f32[64]) -> f32[64] {{
  %x = f32[64]{{0}} parameter(0)
  %part = f32[32]{{0}} reduce-scatter(%x), {groups}, to_apply=%add
  ROOT %whole = f32[64]{{0}} all-gather(%part), {groups}
}}
"""
    sizes = {"fsdp": 2, "tensor": 2}
    assert compared(work_in(Program(text), sizes), LAYERS, TRAIN, sizes).unasked == []
    alone = text.replace("reduce-scatter(%x)", "negate(%x)")
    (gather,) = compared(work_in(Program(alone), sizes), LAYERS, TRAIN, sizes).unasked
    assert (gather.kind, gather.axes, gather.bytes) == ("all-gather", ("tensor",), 32 * ITEM)


MESH = {"fsdp": 2, "tensor": 4}
TENSOR, HALVES = "{{0,1,2,3},{4,5,6,7}}", "{{0,1},{2,3},{4,5},{6,7}}"
NO_AXES = "{{0,1},{2,4},{3,5},{6,7}}"


def sums(*lines: str) -> ProgramWork:
    """Of a program for 8 devices that adds up arrays of these sizes over these groups."""
    lines_of_sums = "".join(
        f"  %x.{place} = f32[{line.split()[0]}]{{0}} parameter({place})\n"
        f"  %sum.{place} = f32[{line.split()[0]}]{{0}} all-reduce(%x.{place}), to_apply=%add, "
        f"replica_groups={line.split()[1]}, metadata={{stack_frame_id={place + 1}}}\n"
        for place, line in enumerate(lines)
    )
    entry = f"ENTRY %main () -> f32[] {{\n{lines_of_sums}  ROOT %o = f32[] constant(0)\n}}\n"
    head = f"HloModule sums, num_partitions=8\n\n{sources(*range(len(lines)))}"
    return work_in(Program(f"{head}\n\n{entry}"), MESH)


def needed_over(axis: str) -> float:
    comparison = compared(sums(f"1 {TENSOR}"), LAYERS, TRAIN, MESH)
    return sum(
        need.bytes for need in comparison.needs if (need.kind, need.axis) == ("all-reduce", axis)
    )


def test_sums_far_beyond_what_the_layout_needs_are_printed_with_their_lines() -> None:
    """Over 4 devices an all-reduce of an array sends 3 / 2 of its bytes, over 8 it sends 7 / 4."""
    enough = round(needed_over("tensor") / (ITEM * 3 / 2))
    comparison = compared(
        sums(f"{enough} {TENSOR}", f"{enough // 3} {TENSOR}"), LAYERS, TRAIN, MESH
    )
    assert (
        comparison.excess == []
        and comparison.collectives[0].bytes > comparison.collectives[0].lower_bound
    )
    comparison = compared(
        sums(f"{enough} {TENSOR}", f"{enough} {TENSOR}", "1 {}"), LAYERS, TRAIN, MESH
    )
    ((row, lines),) = comparison.excess
    assert (row.axes, row.runs, row.bytes) == (("tensor",), 2, 2 * enough * ITEM * 3 / 2)
    assert [(each.where, each.bytes) for each in lines] == [
        (f"model/mlp.py:{line}", enough * ITEM * 3 / 2) for line in (0, 1)
    ]
    text = traffic_lines(comparison)
    first = text.index("sums far beyond what the layout asks for") + 1
    assert text[first].startswith("all-reduce over tensor") and text[first].endswith("2.00")
    assert [line.split()[0] for line in text[first + 1 : first + 3]] == [
        each.where for each in lines
    ]
    assert max(map(len, text)) <= 80
    assert comparison.record["excess"][0]["lines"] == [dataclasses.asdict(each) for each in lines]


def test_a_sum_over_several_axes_may_stand_for_a_sum_over_each() -> None:
    over = needed_over("fsdp")
    assert over < needed_over("tensor")
    of_both = round(2 * over / (ITEM * 7 / 4))
    assert compared(sums(f"{of_both} {{}}"), LAYERS, TRAIN, MESH).excess == []
    ((row, _),) = compared(sums(f"{2 * of_both} {{}}"), LAYERS, TRAIN, MESH).excess
    assert row.axes == ("fsdp", "tensor")


def test_sums_that_nothing_needs_are_printed_unless_small() -> None:
    several = [f"4000 {TENSOR}", f"2 {NO_AXES}", f"1 {NO_AXES}"]
    assert compared(sums(*several), LAYERS, TRAIN, MESH).excess == []
    ((row, lines),) = compared(sums(*several, f"9 {NO_AXES}"), LAYERS, TRAIN, MESH).excess
    assert (row.axes, row.bytes, row.lower_bound) == ((), 12 * ITEM, 0)
    assert [each.bytes for each in lines] == [9 * ITEM, 2 * ITEM, ITEM]


def test_groups_of_several_sizes_along_an_axis_share_its_lower_bound() -> None:
    comparison = compared(sums(f"64 {TENSOR}", f"32 {HALVES}"), LAYERS, TRAIN, MESH)
    (row,) = comparison.collectives
    assert (row.axes, row.group, row.runs) == (("tensor",), 4, 2)
    assert (row.bytes, row.lower_bound) == (64 * ITEM * 3 / 2 + 32 * ITEM, needed_over("tensor"))


def test_replicas_sum_their_gradients_once() -> None:
    sizes = {"replica": 2, "fsdp": 4}
    program = work_in(program_of(LAYERS, TRAIN, **sizes), sizes)
    matrices = matrix_parameters(LAYERS) + 2 * V * D
    rows = by_kind(program, "all-reduce", "replica")
    # The lookup's gradient is summed over replicas before it is cut over fsdp.
    assert sum(row.bytes for row in rows) == (matrices / 4 + V * D * 3 / 4) * ITEM * 2 * 1 / 2
    assert {row.group for row in rows} == {2}
    assert {row.group for row in by_kind(program, "all-gather", "fsdp")} == {4}
    assert program.work.matmul_flops == expected_flops(LAYERS, 8 * T // 8)
    comparison = compared(program, LAYERS, TRAIN, sizes)
    needed = {need.what: need.bytes for need in comparison.needs}
    assert needed["layers, forward"] == matrix_parameters(LAYERS) * ITEM * 3 / 4
    norms = (2 * L + 1) * D
    assert needed["gradients"] == (matrices / 4 + norms) * ITEM * 2 * 1 / 2
    gathers = sum(row.bytes for row in by_kind(program, "all-gather", "fsdp"))
    assert gathers == sum(need.bytes for need in comparison.needs if need.kind == "all-gather")
    kept = comparison.record
    assert kept["bytes"] == sum(each.bytes for each in program.work.collectives)
    assert kept["lower_bound"] == sum(needed.values())
