"""An estimate of the bytes that a compiled program moves between a chip and its main memory.

Operands and results of what is not fused, times trips. Loops, tuples and views move nothing; a
slice is read and an update written where it is, not the array around it. It is no measurement:
caches are not known, and what the layout pads is left out.
"""

from launch.plan.program.hlo import HBM, Instruction, item_bytes

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


def memory_traffic(instruction: Instruction) -> float:
    """Bytes of one run of an instruction that is not inside a fusion."""
    opcode, operands = instruction.opcode, instruction.operands
    named = opcode == "custom-call" and not operands
    if named or opcode in NOTHING or opcode.endswith("-update"):
        return 0.0
    result = _in_main_memory(instruction)
    if opcode.endswith("-done"):
        return result
    if opcode in ("fusion", "async-start"):
        parameters = instruction.called[0].parameters
        read = sum(
            min(_in_main_memory(operand), _read(parameter))
            for operand, parameter in zip(operands, parameters, strict=True)
        )
        return read if opcode == "async-start" else read + _written(instruction)
    if opcode in READS:
        return 2 * result
    if opcode == "dynamic-update-slice":
        return 2 * _in_main_memory(operands[1])
    if opcode == "scatter":
        return 3 * _in_main_memory(operands[2])
    read = sum(map(_in_main_memory, operands))
    if opcode == "custom-call" and len(instruction.shapes) > 1:
        return read + _in_main_memory(instruction, but=SCRATCH)
    return read if opcode == "send" or opcode.endswith("-start") else read + result


def _in_main_memory(instruction: Instruction, but: tuple[str, ...] = ()) -> float:
    """Bytes of a result there, but for arrays of some types."""
    return sum(
        shape.bytes for shape in instruction.shapes if shape.space == HBM and shape.dtype not in but
    )


def _read(parameter: Instruction) -> float:
    """Bytes that a fusion reads of a parameter: parts, if it takes only those, also where a fusion
    within it does."""
    total = 0.0
    for user in parameter.users:
        first = user.operands[0] is parameter
        if _passes_on(user) or (user.opcode == "dynamic-update-slice" and first):
            continue
        if user.opcode in READS and first:
            total += user.bytes
        elif user.opcode in SEEN and first:
            total += _read(user) * _width(parameter) / _width(user)
        elif user.opcode == "fusion":
            total += sum(map(_read, user.within(parameter)))
        else:
            return parameter.bytes
    return total


def _width(array: Instruction) -> float:
    """Bytes of an element."""
    return item_bytes(array.shapes[0].dtype)


def _passes_on(user: Instruction) -> bool:
    """Whether an instruction only passes on its operands: a tuple, or what is left of a collective
    that began before."""
    continued = user.computation.continued
    ends = bool(continued) and user.opcode == "custom-call"
    return user.opcode == "tuple" or user.name in continued or ends


def _written(fusion: Instruction) -> float:
    """Bytes that a fusion writes to main memory: of an array that it updates, the update."""
    inner = fusion.called[0]
    if inner.continued and inner.root.opcode == "custom-call":
        return 0.0
    results = inner.root.operands if inner.root.opcode == "tuple" else [inner.root]
    if len(results) != len(fusion.shapes):
        return _in_main_memory(fusion)
    total = 0.0
    for result, shape in zip(results, fusion.shapes, strict=True):
        if shape.space != HBM or result.opcode == "parameter" or result.name in inner.continued:
            continue
        updated = result.through(*VIEWS)
        updates = updated.opcode == "dynamic-update-slice"
        total += updated.operands[1].bytes if updates else shape.bytes
    return total
