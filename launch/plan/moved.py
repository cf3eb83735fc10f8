"""An estimate of the bytes that a compiled program moves between a chip and its main memory.

Operands and results of what is not fused, times trips. Loops, tuples and views move nothing; a
slice is read and an update written where it is, not the array around it. It is no measurement:
caches are not known, and what the layout pads is left out.
"""

from launch.plan.executed import Executed
from launch.plan.hlo import HBM, Computation, Instruction, Program, item_bytes

NOTHING = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "opt-barrier", "after-all", "partition-id", "replica-id", "iota", "domain",
    "add-dependency", "recv",
}  # fmt: skip
"""Opcodes that only name what is there, or whose parts are counted by themselves."""
SCRATCH = ("s8", "u8")
"""Of a kernel's results, room to work in: how much of it is used is not known."""
VIEWS = ("bitcast", "reshape", "copy")
SEEN = (*VIEWS, "pad", "convert")
"""What a fusion does to an array that it then takes a part of, it does to the part."""
READS = ("dynamic-slice", "slice", "gather")


def moved_bytes(program: Program, one: Executed) -> float:
    """Of one run of an instruction."""
    instruction, computation = one.instruction, one.scope.computation
    opcode = instruction.opcode
    named = opcode == "custom-call" and not instruction.operands
    if one.fused or named or opcode in NOTHING or opcode.endswith("-update"):
        return 0.0
    if opcode.endswith("-done"):
        return _held(instruction)
    operands = [computation[name] for name in instruction.operands]
    if opcode in ("fusion", "async-start"):
        inner = program.computations[instruction.called[0]]
        sizes = zip(operands, inner.parameters, strict=True)
        read = sum(min(_held(given), _read(program, inner, named)) for given, named in sizes)
        written = 0.0 if opcode == "async-start" else _written(inner, instruction)
        return read + written
    if opcode in READS:
        return 2 * _held(instruction)
    if opcode == "dynamic-update-slice":
        return 2 * _held(operands[1])
    if opcode == "scatter":
        return 3 * _held(operands[2])
    read = sum(map(_held, operands))
    if opcode == "custom-call" and len(instruction.shapes) > 1:
        return read + sum(
            shape.bytes
            for shape in instruction.shapes
            if shape.space == HBM and shape.dtype not in SCRATCH
        )
    return read if opcode == "send" or opcode.endswith("-start") else read + _held(instruction)


def _held(instruction: Instruction) -> float:
    """Bytes of a result in main memory."""
    return sum(shape.bytes for shape in instruction.shapes if shape.space == HBM)


def _read(program: Program, inner: Computation, parameter: Instruction) -> float:
    """Bytes that a fusion reads of a parameter: parts, if it takes only those, also where a fusion
    within it does."""
    total = 0.0
    for user in inner.instructions.values():
        if parameter.name not in user.operands or _handed_on(inner, user):
            continue
        whole = user.operands[0] != parameter.name
        if user.opcode in READS and not whole:
            total += sum(shape.bytes for shape in user.shapes)
        elif user.opcode == "dynamic-update-slice" and not whole:
            continue
        elif user.opcode in SEEN and not whole:
            total += _read(program, inner, user) * _width(parameter) / _width(user)
        elif user.opcode == "fusion":
            within = program.computations[user.called[0]]
            given = zip(user.operands, within.parameters, strict=True)
            total += sum(
                _read(program, within, one) for name, one in given if name == parameter.name
            )
        else:
            return _bytes(parameter)
    return total


def _width(array: Instruction) -> float:
    """Bytes of an element."""
    return item_bytes(array.shapes[0].dtype)


def _handed_on(inner: Computation, user: Instruction) -> bool:
    """Whether an instruction only passes on what it is given: a tuple, or what is left of a
    collective that began before."""
    ends = inner.continued and user.opcode == "custom-call"
    return user.opcode == "tuple" or user.name in inner.continued or bool(ends)


def _bytes(instruction: Instruction) -> float:
    return sum(shape.bytes for shape in instruction.shapes)


def _written(inner: Computation, fusion: Instruction) -> float:
    """Bytes that a fusion writes to main memory: of an array that it updates, the update."""
    root = inner[inner.root]
    if inner.continued and root.opcode == "custom-call":
        return 0.0
    results = [inner[name] for name in root.operands] if root.opcode == "tuple" else [root]
    if len(results) != len(fusion.shapes):
        return _held(fusion)
    total = 0.0
    for result, shape in zip(results, fusion.shapes, strict=True):
        if shape.space != HBM or result.opcode == "parameter" or result.name in inner.continued:
            continue
        while result.opcode in VIEWS:
            result = inner[result.operands[0]]
        updated = result.opcode == "dynamic-update-slice"
        total += _bytes(inner[result.operands[1]]) if updated else shape.bytes
    return total
