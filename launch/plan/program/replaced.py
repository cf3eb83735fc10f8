"""Gathers and scatters that TPU programs make of other collectives.

Shards of a weight, or the sums of its gradient, go round a ring by permutes while what is there
already is multiplied: in a loop, known by its name, or on a short ring without one. Over all chips
of a torus arrays are summed that are zero but for each chip's part, or of which each chip reads its
part.
"""

from launch.plan.program.executed import SAME, Scope
from launch.plan.program.groups import turned
from launch.plan.program.hlo import Instruction
from launch.plan.work import Kind

WINDOWED: dict[str, Kind] = {
    "windowed_dot_general_body_ag": "all-gather",
    "windowed_dot_general_body_rs": "reduce-scatter",
}
"""Such loops, by what they take the place of."""
PRODUCT = '/dot_general"'
"""How the name of what belongs to a product ends."""
PASSED_ON = (*SAME, "get-tuple-element", "collective-permute-done", "slice-start", "slice-done")
PIECES = "ConcatBitcast"
"""Kernel that puts together what was copied to the small memory in slices."""
PERMUTES = ("collective-permute", "collective-permute-start")
UPDATE, PART = "dynamic-update-slice", "dynamic-slice"


def window(computation: str) -> Kind | None:
    """What a loop with this body takes the place of."""
    return next((kind for name, kind in WINDOWED.items() if name in computation), None)


def origin(value: Instruction) -> Instruction:
    """What made a value that was only passed on since."""
    while _passed_on(value):
        value = value.operands[0]
    return value


def ring_part(permute: Instruction, scope: Scope, sizes: dict[str, int]) -> tuple[Kind, bool]:
    """What a permute is a part of, if only itself, and whether it is the one by which that is
    counted: a loop itself brings the count of what it takes the place of, without one the last
    permute ahead does."""
    if kind := _in_loop(permute, scope):
        return kind, False
    turn = turned(permute.attributes, sizes) if PRODUCT in permute.attributes else None
    if turn not in (1, -1):
        return "collective-permute", True
    # Sums are added to where they arrive, shards are not.
    kind = "reduce-scatter" if _added(permute) else "all-gather"
    return kind, turn == 1 and not _sent_on(permute)


def _in_loop(permute: Instruction, scope: Scope | None) -> Kind | None:
    """It is inside a windowed loop, makes a part of what one begins with, or sends on what one
    ended with."""
    while scope is not None:
        if kind := window(scope.computation.name):
            return kind
        scope = scope.parent
    loops = [
        loop
        for loop in permute.computation.instructions.values()
        if loop.opcode == "while"
        and (
            loop is origin(permute.operands[0])
            or any(origin(element) is permute for element in loop.operands[0].operands)
        )
    ]
    for loop in loops:
        if kind := window(loop.computation_of("body").name):
            return kind
    return None


def _added(value: Instruction) -> bool:
    """Whether anything is added to a value."""
    return any(
        user.opcode == "add"
        or (user.opcode == "fusion" and any(map(_added, user.within(value))))
        or (_passed_on(user) and _added(user))
        for user in value.users
    )


def _sent_on(value: Instruction, *, summed: bool = True) -> bool:
    """Whether another permute sends a value, or if `summed` what that is added to."""
    return any(
        user.opcode in PERMUTES
        or (_passed_on(user) and _sent_on(user, summed=summed))
        or (summed and _sent_on(user, summed=False))
        for user in value.users
    )


def _passed_on(value: Instruction) -> bool:
    return value.opcode in PASSED_ON or value.kernel == PIECES


def sum_as(reduced: Instruction) -> Kind:
    """The kind of collective that an all-reduce is used as."""
    if all(map(_lone_part, reduced.operands)):
        return "all-gather"
    return "reduce-scatter" if _cut(reduced) else "all-reduce"


def _lone_part(value: Instruction) -> bool:
    """Whether a value is zero but for a part that is written into it."""
    maker = value.through(*SAME)
    root = maker.called[0].root.through(*SAME) if maker.opcode == "fusion" else maker
    if root.opcode != UPDATE:
        return False
    around = root.operands[0].through(*SAME)
    if around.opcode == "parameter" and maker.opcode == "fusion":
        around = maker.operands[int(around.literal)].through(*SAME)
    if around.opcode == "broadcast":
        around = around.operands[0].through(*SAME)
    return around.opcode == "constant" and around.literal == "0"


def _cut(value: Instruction) -> bool:
    """Whether of a value nothing but slices is read."""
    return bool(value.users) and all(
        (user.opcode == PART and user.operands[0] is value)
        or (user.opcode in (*SAME, "get-tuple-element") and _cut(user))
        or (user.opcode == "fusion" and all(map(_cut, user.within(value))))
        for user in value.users
    )
