"""What an all-reduce takes the place of.

TPU programs gather over all chips of a torus by adding up arrays that are zero but for each chip's
part, and scatter by a sum of which each chip reads its part.
"""

from launch.plan.executed import Executed
from launch.plan.hlo import Computation, Instruction, Program
from launch.plan.trips import SAME
from launch.plan.work import Kind

UPDATE, PART = "dynamic-update-slice", "dynamic-slice"


def stands_for(program: Program, one: Executed) -> Kind:
    """The kind of collective that an all-reduce is used as."""
    instruction, computation = one.instruction, one.scope.computation
    if all(_lone_part(program, computation, name) for name in instruction.operands):
        return "all-gather"
    return "reduce-scatter" if _cut(program, computation, instruction.name) else "all-reduce"


def _lone_part(program: Program, computation: Computation, name: str) -> bool:
    """Whether a value is zero but for a part that is written into it."""
    made = _made(computation, name)
    if made.opcode == UPDATE:
        return _zero(computation, made.operands[0])
    if made.opcode != "fusion":
        return False
    inner = program.computations[made.called[0]]
    root = _made(inner, inner.root)
    if root.opcode != UPDATE:
        return False
    around = _made(inner, root.operands[0])
    if around.opcode == "parameter":
        return _zero(computation, made.operands[int(around.literal)])
    return _zero(inner, around.name)


def _zero(computation: Computation, name: str) -> bool:
    made = _made(computation, name)
    if made.opcode == "broadcast":
        made = _made(computation, made.operands[0])
    return made.opcode == "constant" and made.literal == "0"


def _made(computation: Computation, name: str) -> Instruction:
    """What made a value, before it was only seen in another shape or type."""
    one = computation[name]
    while one.opcode in SAME:
        one = computation[one.operands[0]]
    return one


def _cut(program: Program, computation: Computation, name: str) -> bool:
    """Whether of a value nothing but slices is read."""
    users = [one for one in computation.instructions.values() if name in one.operands]
    return bool(users) and all(_cuts(program, computation, user, name) for user in users)


def _cuts(program: Program, computation: Computation, user: Instruction, name: str) -> bool:
    if user.opcode in (*SAME, "get-tuple-element"):
        return _cut(program, computation, user.name)
    if user.opcode == "fusion":
        inner = program.computations[user.called[0]]
        given = zip(inner.parameters, user.operands, strict=True)
        return all(_cut(program, inner, one.name) for one, operand in given if operand == name)
    return user.opcode == PART and user.operands[0] == name
