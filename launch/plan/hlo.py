"""The text of a compiled HLO module as computations of instructions, and the lines of source that
asked for them.

JAX shows a compiled program as text only: its bindings of XLA's modules are private.
"""

import functools
import re
from collections.abc import Iterator
from typing import NamedTuple

from data.errors import UserError
from launch import checkout

ROOT = checkout.ROOT.as_posix()
OUTSIDE = "package "
SHARED = "model/layers.py"
"""What every layer calls: whoever called it tells more."""
HBM = 0
BEGINS, CHAIN = "AsyncCollectiveStart", "chain_id="
ITEM_BYTES = {"pred": 1.0, "bf16": 2.0, "token": 0.0, "opaque": 0.0}

_HEAD = re.compile(r"(ENTRY )?%?([\w.\-]+) .*\{$")
_NAME = re.compile(r" +(?:ROOT )?%?([\w.\-]+) = ")
_OPCODE = re.compile(r"[\])}] ([a-z][a-z0-9\-]*)\(")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,<=]*)\](\{[^}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_OPERAND = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)")
_PLACE = re.compile(
    r'stack_frame_id=(?P<frame>\d+)|source_file="(?P<file>[^"]*)" source_line=(?P<line>\d+)'
)
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
        size = 1
        for dim in self.dims:
            size *= dim
        return size

    @property
    def bytes(self) -> float:
        """Without what the layout pads."""
        return self.size * item_bytes(self.dtype)


class Instruction:
    """One line of a computation; what is seldom asked for is read when it is."""

    __slots__ = ("_type", "attributes", "literal", "name", "opcode", "operands")

    def __init__(self, name: str, type: str, opcode: str, operands: str, attributes: str) -> None:
        self.name = name
        self.opcode = opcode
        self.operands = _OPERAND.findall(operands)
        self.literal = operands
        """What stands between the parentheses: the value of a constant, a parameter's number."""
        self.attributes = attributes
        self._type = type

    @property
    def shapes(self) -> list[Shape]:
        """Arrays of the result, those of a tuple one after the other."""
        return list(_shapes(self._type))

    @property
    def called(self) -> list[str]:
        """Computations it runs, in the order of the text: those of a conditional are its
        branches."""
        branches = re.search(r"branch_computations=\{([^}]*)\}", self.attributes)
        if branches:
            return _OPERAND.findall(branches[1])
        found = re.findall(r"(?:true|false)_computation=%?([\w.\-]+)", self.attributes)
        return found or _CALLED.findall(self.attributes)

    def attribute(self, name: str) -> str | None:
        """The value of `name=value`, up to the comma or brace that ends it; None without it."""
        found = re.search(rf"(?:^|[ ,{{]){name}=((?:\{{[^}}]*\}})|[^,\s}}]+)", self.attributes)
        return found[1] if found else None

    def __repr__(self) -> str:
        return f"%{self.name} = {self._type} {self.opcode}({self.literal}){self.attributes}"


class Computation:
    """Instructions by name, in the order of the schedule."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.instructions: dict[str, Instruction] = {}
        self.root = ""

    def __getitem__(self, name: str) -> Instruction:
        return self.instructions[name]

    @property
    def parameters(self) -> list[Instruction]:
        """By their numbers."""
        found = [one for one in self.instructions.values() if one.opcode == "parameter"]
        return sorted(found, key=lambda one: int(one.literal))

    @functools.cached_property
    def continued(self) -> set[str]:
        """Collectives that another computation began, and that go on beside this one's own work.

        TPU programs spread one collective over many fusions, each of which shows the whole of it.
        """
        every = self.instructions.values()
        chained = {one.name for one in every if CHAIN in one.attributes}
        if not chained:
            return chained
        begun = [one for one in every if one.opcode == "custom-call" and BEGINS in one.attributes]
        return chained.difference(*(one.operands for one in begun))


class Program:
    """A compiled module."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        partitions = re.search(r"^HloModule .*?num_partitions=(\d+)", text)
        self.partitions = int(partitions[1]) if partitions else 1
        """Devices that it runs on; of several slices of TPUs, those of one."""
        self._tables: dict[str, dict[int, str]] = {}
        self._asked: dict[str, str] = {}
        self._read(text)
        if not self.entry:
            raise UserError(
                "the compiled program must have an ENTRY computation, because that is where its "
                "step begins; try the text of `jax.stages.Compiled.as_text()`"
            )

    def where(self, instruction: Instruction) -> str:
        """`file:line` of the innermost line of ours that asked for it, or of any; "" if unknown.

        Lines of what all layers share give way to whoever called it.
        """
        place = _PLACE.search(instruction.attributes)
        if not place:
            return ""
        if place[0] not in self._asked:
            lines = [_short(line) for line in self._lines(place)]
            callers = [line for line in lines if not line.startswith((SHARED, OUTSIDE))]
            ours = callers or [line for line in lines if not line.startswith(OUTSIDE)] or lines
            self._asked[place[0]] = ours[0].removeprefix(OUTSIDE) if ours else ""
        return self._asked[place[0]]

    def _lines(self, place: re.Match[str]) -> Iterator[str]:
        """From the innermost outwards."""
        if place["file"]:
            yield f"{place['file']}:{place['line']}"
            return
        number = int(place["frame"])
        while number in self._tables.get("StackFrames", {}):
            location, parent = _numbers(self._tables["StackFrames"][number])
            file, _, line = _numbers(self._tables["FileLocations"][location])[:3]
            yield f"{self._tables['FileNames'][file][1:-1]}:{line}"
            number = parent - 1  # The text counts from 1 here too, but 1 is none.

    def _read(self, text: str) -> None:
        table: dict[int, str] = {}
        computation: Computation | None = None
        last: Instruction | None = None
        for line in text.splitlines():
            if computation is not None:
                if line == "}":
                    computation = None
                elif made := _instruction(line):
                    last = made
                    computation.instructions[last.name] = last
                    if line.startswith("  ROOT "):
                        computation.root = last.name
                elif last is not None:  # what a kernel says of itself has lines of its own
                    last.attributes += line
            elif line[:1].isdigit():
                number, _, value = line.partition(" ")
                table[int(number)] = value
            elif line in _TABLES:
                table = self._tables.setdefault(line, {})
            elif line.endswith("{") and (head := _HEAD.match(line)):
                computation = self.computations[head[2]] = Computation(head[2])
                if head[1]:
                    self.entry = head[2]


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


def _instruction(line: str) -> Instruction | None:
    name = _NAME.match(line)
    opcode = _OPCODE.search(line, name.end()) if name else None
    if name is None or opcode is None:
        return None
    start = opcode.end()
    end = _closing(line, start)
    kind = line[name.end() : opcode.start() + 1]
    return Instruction(name[1], kind, opcode[1], line[start:end], line[end + 1 :])


def _closing(line: str, start: int) -> int:
    """Where the parenthesis that was opened before `start` is closed."""
    end = line.index(")", start)
    depth = line.count("(", start, end)
    while depth:
        after = line.index(")", end + 1)
        depth += line.count("(", end + 1, after) - 1
        end = after
    return end


@functools.cache
def _shapes(text: str) -> tuple[Shape, ...]:
    found = []
    for dtype, dims, layout in _SHAPE.findall(text):
        space = _SPACE.search(layout)
        sizes = tuple(int(dim.lstrip("<=")) for dim in dims.split(",") if dim)
        found.append(Shape(dtype, sizes, int(space[1]) if space else HBM))
    return tuple(found)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"=(\d+)", text)]


def _short(line: str) -> str:
    """A path inside this repository from its top, one of a package marked as outside, another by
    its last two parts."""
    _, package, inside = line.rpartition("/site-packages/")
    if package:
        return OUTSIDE + inside
    if line.startswith(f"{ROOT}/"):
        return line.removeprefix(f"{ROOT}/")
    return "/".join(line.split("/")[-2:])
