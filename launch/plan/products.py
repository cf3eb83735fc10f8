"""Multiplications and additions of the matrix products in a compiled program."""

import functools
import math
import re
from typing import NamedTuple

import numpy as np

from launch.plan.hlo import Computation, Instruction, Program, Shape

CUBLAS = ("__cublas$gemm", "__cublas$lt$matmul", "__cublas$lt$matmul$f8")
CUDNN_ATTENTION = "__cudnn$fmha"
SCORES_AND_VALUES, BACKWARD = 2, 5
"""Products of flash attention: the backward pass computes the scores again."""
SPLASH = {"splash_mha_fwd": 2, "splash_mha_dq": 3, "splash_mha_dkv": 4}
"""Products of each block of JAX's splash attention for TPU: scores and values; both backward
kernels compute scores and the gradient of probabilities again."""
NO_PRODUCT = {
    "AllocateBuffer", "AssumeGatherIndicesInBound", "AsyncCollectiveDone", "AsyncCollectiveStart",
    "ConcatBitcast", "Sharding", "SPMDFullToShardShape", "SPMDShardToFullShape", "SliceId", "TopK",
    "ZeroCrop",
}  # fmt: skip
"""Custom calls that multiply no matrices."""


class Call(NamedTuple):
    """An instruction where it stands."""

    instruction: Instruction
    computation: Computation

    def operand(self, index: int) -> Instruction:
        return self.computation[self.instruction.operands[index]]


def products_in(program: Program, computation: Computation) -> float:
    """FLOPs of the products that stand in a computation and in what it calls, loops run once."""
    total = 0.0
    for instruction in computation.instructions.values():
        total += product_flops(instruction, computation) or 0.0
        if instruction.opcode in ("fusion", "call", "while", "conditional"):
            total += sum(products_in(program, program.computations[n]) for n in instruction.called)
    return total


def product_flops(instruction: Instruction, computation: Computation) -> float | None:
    """FLOPs of one run of an instruction; None of a call to a kernel whose work is not known."""
    one = Call(instruction, computation)
    if instruction.opcode == "dot":
        (result,) = instruction.shapes
        summed = instruction.attribute("lhs_contracting_dims") or ""
        return 2.0 * result.size * _sizes(one.operand(0).shapes[0], summed)
    if instruction.opcode == "convolution":
        return _convolution(one)
    if instruction.opcode != "custom-call":
        return 0.0
    target = target_of(instruction)
    if target in CUBLAS:
        summed = re.search(r'lhs_contracting_dimensions":\s*\[([^\]]*)\]', instruction.attributes)
        left = one.operand(0).shapes[0]
        return 2.0 * instruction.shapes[0].size * _sizes(left, summed[1]) if summed else None
    if target.startswith(CUDNN_ATTENTION):
        return _attention(one, BACKWARD if "Backward" in target else SCORES_AND_VALUES)
    for kernel, products in SPLASH.items():
        if f"/{kernel}" in instruction.attributes and target == "tpu_custom_call":
            return _splash(one, products)
    return 0.0 if target in NO_PRODUCT else None


def _splash(one: Call, products: int) -> float:
    """On [.. N T H], after the blocks that each block meets: [1, n, n] for a causal mask, one side
    shorter for a band. Of n blocks a side the i-th meets i, or the band's if those are fewer."""
    operands = [one.operand(place).shapes[0] for place in range(len(one.instruction.operands))]
    queries = next(shape for shape in operands if shape.dtype.startswith(("bf", "f")))
    *rows, length, head = queries.dims
    width, number = sorted(operands[0].dims[1:])
    met = sum(min(block, width) for block in range(1, number + 1))
    return products * 2.0 * math.prod(rows) * met * (length // number) ** 2 * head


def _attention(one: Call, products: int) -> float | None:
    """cuDNN's flash attention on [B T N H]: each product is over all scores, with a causal mask
    half of them."""
    attributes = one.instruction.attributes
    scores = re.search(r'intermediate_tensor_shape":.*?"dimensions":\s*\[([^\]]*)\]', attributes)
    if scores is None:
        return None
    causal = re.search(r'"mask_type":\s*"[A-Z_]*CAUSAL', attributes) is not None
    head = one.operand(0).shapes[0].dims[-1]
    return products * 2.0 * math.prod(_numbers(scores[1])) * head / (2 if causal else 1)


def target_of(instruction: Instruction) -> str:
    """Name of the kernel that a custom call runs."""
    return (instruction.attribute("custom_call_target") or "").strip('"')


def _convolution(one: Call) -> float:
    """TPU programs have their products as convolutions, batches among the window's dimensions;
    only what meets no padding and no hole between dilated elements is multiplied."""
    attributes = one.instruction.attributes
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", attributes)
    assert labels is not None, attributes
    of_left, of_kernel, of_result = labels.groups()
    left, kernel = one.operand(0).shapes[0].dims, one.operand(1).shapes[0].dims
    result = one.instruction.shapes[0].dims
    flops = 2.0 * kernel[of_kernel.index("i")] * kernel[of_kernel.index("o")]
    flops *= left[of_left.index("b")]
    flops /= int(one.instruction.attribute("batch_group_count") or 1)
    window = re.search(r"window=\{([^}]*)\}", attributes)
    told = dict(part.split("=") for part in window[1].split()) if window else {}
    for dim in range(len(left) - 2):
        place = str(dim)
        flops *= _met(
            left[of_left.index(place)],
            kernel[of_kernel.index(place)],
            result[of_result.index(place)],
            *(
                told[name].split("x")[dim] if name in told else usual
                for name, usual in (
                    ("stride", "1"), ("pad", "0_0"), ("lhs_dilate", "1"), ("rhs_dilate", "1"),
                )
            ),
        )  # fmt: skip
    return flops


@functools.cache
def _met(left: int, kernel: int, result: int, stride: str, pad: str, hole: str, apart: str) -> int:
    """Pairs of a place in the result and one in the kernel that meet an element, in a dimension."""
    places = np.arange(result)[:, None] * int(stride) - int(pad.split("_")[0])
    places = places + np.arange(kernel) * int(apart)
    whole, rest = np.divmod(places, int(hole))
    return int(((rest == 0) & (whole >= 0) & (whole < left)).sum())


def _sizes(shape: Shape, dims: str) -> int:
    """Elements of these dimensions, as the text lists them."""
    return math.prod(shape.dims[dim] for dim in _numbers(dims))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]
