"""The text of a compiled HLO module as a graph of instructions, and the lines of source that asked
for them.

JAX shows a compiled program as text only: its bindings of XLA's modules are private and have no
shapes or attributes of an instruction, and its cost analysis counts a loop's body once.
"""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from data.errors import UserError
from launch import checkout

OUTSIDE = "package "
HBM = 0
BEGINS, CHAIN = "AsyncCollectiveStart", "chain_id="
ITEM_BYTES = {"pred": 1.0, "bf16": 2.0, "token": 0.0, "opaque": 0.0}
SHARED = "model/layers.py"
"""What every layer calls: whoever called it says more."""

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_LINE = re.compile(r" +(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][a-z0-9\-]*)\(([^)]*)\)(.*)")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_NAME = re.compile(r"%([\w.\-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_CALLED = re.compile(r"\w+_computation=%[\w.\-]+|(?:calls|to_apply|body|condition)=%[\w.\-]+")
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


class Shape(NamedTuple):
    """One array of a result; a tuple is several."""

    dtype: str
    dims: tuple[int, ...]
    space: int
    """Memory it lies in: 0 is the chip's main memory, others are the compiler's own names."""

    @property
    def size(self) -> int:
        """Elements."""
        return math.prod(self.dims)

    @property
    def bytes(self) -> float:
        """Without what the layout pads."""
        return self.size * item_bytes(self.dtype)


@dataclass(eq=False, repr=False)
class Instruction:
    """One line of a computation; what is seldom asked for is read when it is."""

    computation: "Computation"
    name: str
    kind: str
    """Types and layouts of the result."""
    opcode: str
    literal: str
    """What stands between the parentheses: the value of a constant, a parameter's number."""
    attributes: str

    @functools.cached_property
    def operands(self) -> list["Instruction"]:
        return [self.computation.instructions[name] for name in _NAME.findall(self.literal)]

    @property
    def users(self) -> list["Instruction"]:
        return self.computation.users[self.name]

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Arrays of the result, those of a tuple one after the other."""
        return _shapes(self.kind)

    @property
    def bytes(self) -> float:
        return sum(shape.bytes for shape in self.shapes)

    @property
    def called(self) -> list["Computation"]:
        """Computations it runs, in the order of the text: those of a conditional are its
        branches."""
        branches = _BRANCHES.search(self.attributes)
        names = branches[1] if branches else " ".join(_CALLED.findall(self.attributes))
        return [self.computation.program.computations[name] for name in _NAME.findall(names)]

    @property
    def kernel(self) -> str:
        """What a custom call runs; empty for others."""
        called = self.opcode == "custom-call" and self.attribute("custom_call_target")
        return (called or "").strip('"')

    def attribute(self, name: str) -> str | None:
        """The value of `name=value`, up to the comma or brace that ends it; None without it."""
        match = re.search(rf"(?:^|[ ,{{]){name}=((?:\{{[^}}]*\}})|[^,\s}}]+)", self.attributes)
        return match[1] if match else None

    def computation_of(self, attribute: str) -> "Computation":
        """The `body` or `condition` of a loop."""
        return self.computation.program.computations[(self.attribute(attribute) or "").lstrip("%")]

    def within(self, operand: "Instruction") -> list["Instruction"]:
        """The parameters of a fusion that are this operand."""
        pairs = zip(self.operands, self.called[0].parameters, strict=True)
        return [parameter for each, parameter in pairs if each is operand]

    def through(self, *opcodes: str) -> "Instruction":
        """What made the value, before it only passed through instructions of these opcodes."""
        maker = self
        while maker.opcode in opcodes:
            maker = maker.operands[0]
        return maker


@dataclass(eq=False, repr=False)
class Computation:
    """Instructions by name, in the order of the schedule."""

    program: "Program"
    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)
    root: Instruction = field(init=False)

    @property
    def parameters(self) -> list[Instruction]:
        """By their numbers."""
        every = self.instructions.values()
        return sorted(
            (each for each in every if each.opcode == "parameter"),
            key=lambda parameter: int(parameter.literal),
        )

    @functools.cached_property
    def continued(self) -> set[str]:
        """Collectives that another computation began, and that go on next to this one's own work.

        TPU programs spread one collective over many fusions, each of which shows the whole of it.
        """
        every = self.instructions.values()
        chained = {each.name for each in every if CHAIN in each.attributes}
        begun = (each.operands for each in every if chained and BEGINS in each.kernel)
        return chained - {operand.name for operands in begun for operand in operands}

    @functools.cached_property
    def users(self) -> dict[str, list[Instruction]]:
        """Of every value, in the order of the schedule."""
        users: dict[str, list[Instruction]] = defaultdict(list)
        for user in self.instructions.values():
            for operand in dict.fromkeys(user.operands):
                users[operand.name].append(user)
        return users


class Program:
    """A compiled module."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, Computation] = {}
        partitions = re.search(r"^HloModule .*?num_partitions=(\d+)", text)
        self.partitions = int(partitions[1]) if partitions else 1
        """Devices that it runs on; of several slices of TPUs, those of one."""
        self._tables: dict[str, dict[int, str]] = defaultdict(dict)
        self.entry = self._read(text)

    def where(self, instruction: Instruction) -> str:
        """`file:line` of the innermost line of ours that asked for it, or of any; "" if unknown.

        Lines of what all layers share give way to whoever called it.
        """
        frame = _FRAME.search(instruction.attributes)
        lines = [_short(line) for line in self._stack(int(frame[1]))] if frame else []
        ours = [each for each in lines if not each.startswith(OUTSIDE)]
        callers = [each for each in ours if not each.startswith(SHARED)]
        return next(iter(callers or ours or lines), "").removeprefix(OUTSIDE)

    def _stack(self, frame: int) -> Iterator[str]:
        """From the innermost outwards."""
        tables = self._tables
        while frame in tables["StackFrames"]:
            location, parent = numbers(tables["StackFrames"][frame])
            file, _, line = numbers(tables["FileLocations"][location])[:3]
            yield f"{tables['FileNames'][file][1:-1]}:{line}"
            frame = parent - 1  # The text counts from 1 here too, but 1 is none.

    def _read(self, text: str) -> Computation:
        """Of all computations, the one that a step begins with."""
        entry: Computation | None = None
        table: dict[int, str] = {}
        computation: Computation | None = None
        last: Instruction | None = None
        for line in text.splitlines():
            if computation is not None:
                if line == "}":
                    computation = None
                elif match := _LINE.match(line):
                    root, name, *parts = match.groups()
                    last = computation.instructions[name] = Instruction(computation, name, *parts)
                    if root:
                        computation.root = last
                elif last is not None:  # what a kernel says of itself has lines of its own
                    last.attributes += line
            elif line[:1].isdigit():
                number, _, value = line.partition(" ")
                table[int(number)] = value
            elif line in _TABLES:
                table = self._tables[line]
            elif head := _HEAD.match(line):
                computation = self.computations[head[2]] = Computation(self, head[2])
                entry = computation if head[1] else entry
        if entry is None:
            raise UserError(
                "the compiled program must have an ENTRY computation, because that is where its "
                "step begins; try the text of `jax.stages.Compiled.as_text()`"
            )
        return entry


def item_bytes(dtype: str) -> float:
    """Bytes of an element; `f8e4m3fn` has 1, `s4` a half."""
    if dtype in ITEM_BYTES:
        return ITEM_BYTES[dtype]
    bits = re.match(r"[a-z]+(\d+)", dtype)
    if not bits:
        raise UserError(
            f"type {dtype} of the compiled program must be known, because its bytes are counted; "
            "try another dtype, and report it"
        )
    return int(bits[1]) / 8


@functools.cache
def _shapes(kind: str) -> tuple[Shape, ...]:
    shapes = []
    for dtype, dims, layout in _SHAPE.findall(kind):
        space = _SPACE.search(layout)
        sizes = tuple(int(dim.lstrip("<=")) for dim in dims.split(",") if dim)
        shapes.append(Shape(dtype, sizes, int(space[1]) if space else HBM))
    return tuple(shapes)


def numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _short(line: str) -> str:
    """A path inside this repository from its top, one of a package marked as outside, another by
    its last two parts."""
    _, package, inside = line.rpartition("/site-packages/")
    if package:
        return OUTSIDE + inside
    root = f"{checkout.ROOT.as_posix()}/"
    return line.removeprefix(root) if line.startswith(root) else "/".join(line.split("/")[-2:])
