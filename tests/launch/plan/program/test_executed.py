import pytest

from launch.plan.program.executed import executed
from launch.plan.program.hlo import Program

LOOP = """HloModule loops

%wrapped_add (a: s32[], b: s32[]) -> s32[] {{
  %a = s32[] parameter(0)
  %b = s32[] parameter(1)
  ROOT %sum = s32[] add(%a, %b)
}}

%body (state: (s32[], s32[], f32[4])) -> (s32[], s32[], f32[4]) {{
  %state = (s32[], s32[]{{:T(128)}}, f32[4]{{0:T(128)}}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %n = s32[] get-tuple-element(%state), index=1
  %x = f32[4]{{0}} get-tuple-element(%state), index=2
  %step = s32[] constant({step})
  %moved = s32[]{{:S(6)}} copy(%i)
  %next = s32[] fusion(%moved, %step), kind=kLoop, calls=%wrapped_add
  %y = f32[4]{{0}} negate(%x)
  ROOT %out = (s32[], s32[], f32[4]{{0}}) tuple(%next, %{kept}, %y)
}}

%condition (state.1: (s32[], s32[], f32[4])) -> pred[] {{
  %state.1 = (s32[], s32[], f32[4]{{0}}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %n.1 = s32[] get-tuple-element(%state.1), index=1
  ROOT %more = pred[] compare({compared}), direction={direction}
}}

%outer_body (outer: (s32[], s32[], f32[4])) -> (s32[], s32[], f32[4]) {{
  %outer = (s32[], s32[], f32[4]{{0}}) parameter(0)
  %j = s32[] get-tuple-element(%outer), index=0
  %kept = s32[] get-tuple-element(%outer), index=1
  %ten = s32[] constant(10)
  %z = f32[4]{{0}} get-tuple-element(%outer), index=2
  %first = s32[] constant({first})
  %start = (s32[], s32[], f32[4]{{0}}) tuple(%first, %{limit}, %z)
  %inner = (s32[], s32[], f32[4]{{0}}) while(%start), condition=%condition, body=%body
  %end = f32[4]{{0}} get-tuple-element(%inner), index=2
  %one = s32[] constant(1)
  %j.1 = s32[] add(%j, %one)
  ROOT %back = (s32[], s32[], f32[4]{{0}}) tuple(%j.1, %kept, %end)
}}

ENTRY %main (p: f32[4], given: s32[]) -> f32[4] {{
  %p = f32[4]{{0}} parameter(0)
  %given = s32[] parameter(1)
  %zero = s32[] constant(0)
  %begin = (s32[], s32[], f32[4]{{0}}) tuple(%zero, %given, %p)
  %loop = (s32[], s32[], f32[4]{{0}}) while(%begin), condition=%condition, body=%outer_body, backend_config={{"known_trip_count":{{"n":"3"}}}}
  ROOT %result = f32[4]{{0}} get-tuple-element(%loop), index=2
}}
"""  # noqa: E501
USUAL = {
    "step": 1, "kept": "n", "compared": "%i.1, %n.1", "direction": "LT", "first": 0, "limit": "ten",
}  # fmt: skip


def times(**changes: object) -> int:
    """How often the innermost loop's body runs: three times the loop's trips."""
    program = Program(LOOP.format(**{**USUAL, **changes}))
    (steps,) = [step for step in executed(program) if step.instruction.opcode == "negate"]
    return steps.scope.times


@pytest.mark.parametrize(
    ("changes", "trips"),
    [
        ({}, 10),
        ({"step": 2}, 5),
        ({"step": 3}, 4),
        ({"first": 4}, 6),
        ({"first": 12}, 0),
        ({"direction": "LE"}, 11),
        ({"direction": "NE"}, 10),
        ({"compared": "%n.1, %i.1", "direction": "GT"}, 10),
        ({"first": 22, "step": -2, "direction": "GT"}, 6),
        ({"first": 22, "step": -2, "direction": "GE"}, 7),
        ({"kept": "next"}, 1),  # the bound moves too
        ({"direction": "EQ"}, 0),
    ],
)
def test_trips_follow_the_counter(changes: dict, trips: int) -> None:
    assert times(**changes) == 3 * trips


@pytest.mark.parametrize(
    "changes",
    [
        {"limit": "j"},  # known at run time only
        {"step": 0},
        {"step": -1},
        {"step": 3, "direction": "NE"},  # passes the bound
    ],
)
def test_trips_that_the_text_does_not_say_are_never_guessed(changes: dict) -> None:
    with pytest.raises(ValueError, match="loop inner of the compiled program must say how often"):
        times(**changes)


BRANCHES = """HloModule branches

%body (s: (s32[], s32[])) -> (s32[], s32[]) {{
  %s = (s32[], s32[]) parameter(0)
  %i = s32[] get-tuple-element(%s), index=0
  %n = s32[] get-tuple-element(%s), index=1
  %one = s32[] constant(1)
  %j = s32[] add(%i, %one)
  %y = s32[] negate(%i)
  ROOT %o = (s32[], s32[]) tuple(%j, %n)
}}

%condition (s.1: (s32[], s32[])) -> pred[] {{
  %s.1 = (s32[], s32[]) parameter(0)
  %i.1 = s32[] get-tuple-element(%s.1), index=0
  %n.1 = s32[] get-tuple-element(%s.1), index=1
  ROOT %more = pred[] compare(%i.1, %n.1), direction=LT
}}

%long (t: x) -> s32[] {{
  {limit}
  %zero = s32[] constant(0)
  %begin = (s32[], s32[]) tuple(%zero, %limit)
  %loop = (s32[], s32[]) while(%begin), condition=%condition, body=%body
  ROOT %r = s32[] get-tuple-element(%loop), index=0
}}

%short (k: s32[]) -> s32[] {{
  ROOT %k = s32[] parameter(0)
}}

ENTRY %main (which: s32[]) -> s32[] {{
  %which = {which}
  %ten = s32[] constant(10)
  %pair = (s32[], s32[]) tuple(%which, %ten)
  %seven = s32[] constant(7)
  ROOT %z = s32[] conditional(%which, {operands}), {branches}
}}
"""


TRUE, FALSE = "true_computation=", "false_computation="


@pytest.mark.parametrize(
    ("which", "operands", "branches"),
    [
        ("s32[] constant(1)", "%seven, {passed}", "branch_computations={%short, %long}"),
        ("s32[] parameter(0)", "{passed}, %seven", "branch_computations={%long, %short}"),
        ("pred[] parameter(0)", "{passed}, %seven", TRUE + "%long, " + FALSE + "%short"),
        ("pred[] parameter(0)", "%seven, {passed}", TRUE + "%short, " + FALSE + "%long"),
    ],
)  # fmt: skip
def test_each_branch_has_an_operand_after_what_chooses_it(
    which: str, operands: str, branches: str
) -> None:
    scalar = "%limit = s32[] parameter(0)"
    element = "%t = (s32[], s32[]) parameter(0)\n  %limit = s32[] get-tuple-element(%t), index=1"
    for passed, limit in (("%ten", scalar), ("%pair", element)):
        text = BRANCHES.format(
            limit=limit, which=which, branches=branches,
            operands=operands.format(passed=passed),
        )  # fmt: skip
        steps = executed(Program(text))
        assert [step.scope.times for step in steps if step.instruction.opcode == "negate"] == [10]
