"""Bytes that one instruction moves between a chip and its main memory, counted by hand."""

import pytest

from launch.plan.program.executed import executed
from launch.plan.program.hlo import Program
from launch.plan.program.memory_traffic import memory_traffic

CUBLAS = 'custom-call(%x, %w), custom_call_target="__cublas$lt$matmul"'
# What a layer reads of all four layers' weights, one fusion deeper, as TPU programs have it.
LAYER = """%deeper (w: bf16[4,8,8], j: s32[]) -> bf16[8,8] {
  %j = s32[] parameter(1)
  %w = bf16[4,8,8] parameter(0)
  %zero = s32[] constant(0)
  %one = bf16[1,8,8] dynamic-slice(%w, %j, %zero, %zero), dynamic_slice_sizes={1,8,8}
  ROOT %seen = bf16[8,8] bitcast(%one)
}

"""
STACK = "bf16[4,8,8]"
WEIGHT, ROWS = 8 * 8 * 2, 16 * 8 * 2


def moved(result: str, line: str, operands: dict[str, str], before: str = "") -> float:
    """Of an instruction on its own, and of all that it calls."""
    parameters = "\n".join(
        f"  %{name} = {shape} parameter({place})"
        for place, (name, shape) in enumerate(operands.items())
    )
    entry = f"ENTRY %main () -> x {{\n{parameters}\n  ROOT %made = {result} {line}\n}}\n"
    program = Program(f"HloModule one\n\n{before}{entry}")
    return sum(
        memory_traffic(step.instruction) for step in executed(program) if not step.scope.fused
    )


def fused(result: str, operands: dict[str, str], *lines: str, before: str = "") -> float:
    """Of a fusion of these lines, which name its parameters as its operands are named."""
    parameters = [f"%{name} = {shape} parameter({place})" for place, (name, shape) in
                  enumerate(operands.items())]  # fmt: skip
    body = "\n".join(f"  {line}" for line in [*parameters, *lines])
    called = f"%inner () -> {result} {{\n{body}\n}}\n\n"
    names = ", ".join(f"%{name}" for name in operands)
    return moved(result, f"fusion({names}), kind=kLoop, calls=%inner", operands, before + called)


@pytest.mark.parametrize(
    ("result", "line", "operands", "expected"),
    [
        ("f32[4,8]", "add(%x, %x)", {"x": "f32[4,8]"}, 3 * 128),
        ("f32[4,8]{1,0:T(8,128)S(1)}", "add(%x, %x)", {"x": "f32[4,8]"}, 2 * 128),
        ("f32[4,8]", "add(%x, %x)", {"x": "f32[4,8]{1,0:S(1)}"}, 128),
        ("f32[2,8]", "dynamic-slice(%x, %i)", {"x": "f32[64,8]", "i": "s32[]"}, 2 * 64),
        ("f32[2,8]", "slice(%x)", {"x": "f32[64,8]"}, 2 * 64),
        ("f32[2,8]", "gather(%x, %i)", {"x": "f32[64,8]", "i": "s32[2]"}, 2 * 64),
        (
            "f32[64,8]",
            "dynamic-update-slice(%x, %y, %i)",
            {"x": "f32[64,8]", "y": "f32[2,8]", "i": "s32[]"},
            2 * 64,
        ),
        (  # what is there is read, the update too, and their sum is written
            "f32[64,8]",
            "scatter(%x, %i, %y), to_apply=%add",
            {"x": "f32[64,8]", "i": "s32[2]", "y": "f32[2,8]"},
            3 * 64,
        ),
        ("f32[8,4]", "bitcast(%x)", {"x": "f32[4,8]"}, 0),
        ("(f32[8], f32[4])", "tuple(%x, %y)", {"x": "f32[8]", "y": "f32[4]"}, 0),
        # A gather reads its part where it starts, and writes the whole where it is done.
        ("(f32[8], f32[32])", "all-gather-start(%x)", {"x": "f32[8]"}, 32),
        ("f32[32]", "all-gather-done(%x)", {"x": "(f32[8], f32[32])"}, 128),
        ("f32[32]", "all-gather(%x)", {"x": "f32[8]"}, 160),
        ("(f32[8], u32[], token[])", "send(%x)", {"x": "f32[8]"}, 32),
        ("f32[8]", "async-update(%x)", {"x": "f32[8]"}, 0),
        # Kernels: their operands, and of several results not what they only work in.
        ("(bf16[4,8], s8[33554432])", CUBLAS, {"x": "bf16[4,4]", "w": "bf16[4,8]"}, 32 + 64 + 64),
        ("f32[8]", 'custom-call(%x), custom_call_target="mine"', {"x": "f32[8]"}, 64),
        ("s8[8]", 'custom-call(%x), custom_call_target="mine"', {"x": "f32[8]"}, 40),
        ("f32[64]", 'custom-call(), custom_call_target="AllocateBuffer"', {}, 0),
    ],
)  # fmt: skip
def test_bytes_that_an_instruction_moves(
    result: str, line: str, operands: dict[str, str], expected: float
) -> None:
    assert moved(result, line, operands) == expected


def test_of_all_layers_weights_a_fusion_within_a_fusion_reads_a_layer() -> None:
    operands = {"x": "bf16[16,8]", "w": STACK, "i": "s32[]"}
    product = "convolution(%x, %layer), dim_labels=bf_io->bf"
    result = fused(
        "bf16[16,8]",
        operands,
        "%layer = bf16[8,8] fusion(%w, %i), kind=kLoop, calls=%deeper",
        f"ROOT %product = bf16[16,8] {product}",
        before=LAYER,
    )
    assert result == ROWS + WEIGHT + 4 + ROWS
    # Beside it another reads all of it.
    result = fused(
        "bf16[16,8]",
        operands,
        "%layer = bf16[8,8] fusion(%w, %i), kind=kLoop, calls=%deeper",
        "%all = bf16[8,8] reduce(%w, %i), dimensions={0}, to_apply=%add",
        f"ROOT %product = bf16[16,8] {product}",
        before=LAYER,
    )
    assert result == ROWS + 4 * WEIGHT + 4 + ROWS


@pytest.mark.parametrize(
    ("operands", "lines", "expected"),
    [
        (  # one slice, whether of the array or of a view of it
            {"w": STACK, "i": "s32[]"},
            ["ROOT %o = bf16[1,8,8] dynamic-slice(%w, %i, %i, %i)"],
            WEIGHT + 4 + WEIGHT,
        ),
        (
            {"w": STACK, "i": "s32[]"},
            [
                "%flat = bf16[32,8] bitcast(%w)",
                "ROOT %o = bf16[8,8] dynamic-slice(%flat, %i, %i)",
            ],
            WEIGHT + 4 + WEIGHT,
        ),
        (  # a slice of an array with room around it, or in another type
            {"w": STACK, "i": "s32[]"},
            [
                "%none = bf16[] constant(-inf)",
                "%wide = bf16[5,8,8] pad(%w, %none), padding=0_1x0_0x0_0",
                "%same = f32[5,8,8] convert(%wide)",
                "%cut = f32[1,8,8] dynamic-slice(%same, %i, %i, %i)",
                "ROOT %o = bf16[1,8,8] convert(%cut)",
            ],
            WEIGHT + 4 + WEIGHT,
        ),
        (  # two slices
            {"w": STACK, "i": "s32[]"},
            [
                "%a = bf16[1,8,8] dynamic-slice(%w, %i, %i, %i)",
                "%b = bf16[1,8,8] slice(%w), slice={[0:1], [0:8], [0:8]}",
                "ROOT %o = bf16[1,8,8] add(%a, %b)",
            ],
            2 * WEIGHT + 4 + WEIGHT,
        ),
        (  # more slices than there is
            {"w": "bf16[1,8,8]", "i": "s32[]"},
            [
                "%a = bf16[1,8,8] dynamic-slice(%w, %i, %i, %i)",
                "%b = bf16[1,8,8] slice(%w), slice={[0:1], [0:8], [0:8]}",
                "ROOT %o = bf16[1,8,8] add(%a, %b)",
            ],
            WEIGHT + 4 + WEIGHT,
        ),
        (  # all of it, and a slice of it
            {"w": STACK, "i": "s32[]"},
            [
                "%a = bf16[1,8,8] dynamic-slice(%w, %i, %i, %i)",
                "%b = bf16[4,8,8] negate(%w)",
                "ROOT %o = bf16[1,8,8] reduce(%b, %a), to_apply=%add",
            ],
            4 * WEIGHT + 4 + WEIGHT,
        ),
        (  # where to cut is read whole
            {"w": STACK, "i": "s32[64]"},
            ["ROOT %o = bf16[1,8,8] gather(%w, %i)"],
            WEIGHT + 4 * 64 + WEIGHT,
        ),
        (  # what lies in the chip's small memory is not read from the main one
            {"w": "bf16[4,8,8]{2,1,0:T(8,128)(2,1)S(1)}", "i": "s32[]"},
            ["ROOT %o = bf16[1,8,8] dynamic-slice(%w, %i, %i, %i)"],
            4 + WEIGHT,
        ),
    ],
)  # fmt: skip
def test_what_a_fusion_reads(operands: dict[str, str], lines: list[str], expected: float) -> None:
    assert fused("bf16[1,8,8]", operands, *lines) == expected


UPDATED = {"w": STACK, "p": "bf16[1,8,8]", "i": "s32[]"}
UPDATE = "%u = bf16[4,8,8] dynamic-update-slice(%w, %p, %i, %i, %i)"


@pytest.mark.parametrize(
    ("result", "operands", "lines", "expected"),
    [
        (STACK, UPDATED, [f"ROOT {UPDATE}"], WEIGHT + 4 + WEIGHT),
        ("bf16[32,8]", UPDATED, [UPDATE, "ROOT %o = bf16[32,8] bitcast(%u)"], WEIGHT + 4 + WEIGHT),
        (  # an update, a sum, and what is handed on as it came
            f"({STACK}, bf16[1,8,8], bf16[8,8])",
            UPDATED | {"kept": "bf16[8,8]"},
            [UPDATE, "%s = bf16[1,8,8] add(%p, %p)", "ROOT %o = (x) tuple(%u, %s, %kept)"],
            WEIGHT + 4 + 2 * WEIGHT,
        ),
        (  # an update that is written into all of an array which is made here
            STACK,
            UPDATED,
            [
                "%n = bf16[4,8,8] negate(%w)",
                "%u = bf16[4,8,8] dynamic-update-slice(%n, %p, %i, %i, %i)",
                "ROOT %o = bf16[4,8,8] negate(%u)",
            ],
            4 * WEIGHT + WEIGHT + 4 + 4 * WEIGHT,
        ),
        (
            "(bf16[8,8]{1,0:S(1)}, bf16[8,8])",
            {"x": "bf16[8,8]"},
            ["%n = bf16[8,8] negate(%x)", "ROOT %o = (x) tuple(%n, %n)"],
            WEIGHT + WEIGHT,
        ),
    ],
)  # fmt: skip
def test_what_a_fusion_writes(
    result: str, operands: dict[str, str], lines: list[str], expected: float
) -> None:
    assert fused(result, operands, *lines) == expected


def test_what_runs_during_the_program_is_written_where_it_is_done() -> None:
    slicing = LAYER.replace("%deeper", "%inner")
    started = "((bf16[4,8,8], s32[]), bf16[8,8], u32[])"
    operands = {"w": STACK, "i": "s32[]"}
    line = "async-start(%w, %i), calls=%inner"
    assert moved(started, line, operands, slicing) == WEIGHT + 4
    assert moved("bf16[8,8]", "async-done(%begun)", {"begun": started}) == WEIGHT
