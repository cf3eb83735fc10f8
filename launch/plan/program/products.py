"""Multiplications and additions of the matrix products in a compiled program."""

import functools
import math
import re

import numpy as np

from launch.plan.program.hlo import Computation, Instruction, numbers

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
WINDOW = {"stride": "1", "pad": "0_0", "lhs_dilate": "1", "rhs_dilate": "1"}
"""What a dimension of a convolution's window has if nothing is said."""


def products_in(computation: Computation) -> float:
    """FLOPs of the products that stand in a computation and in what it calls, loops run once."""
    total = 0.0
    for instruction in computation.instructions.values():
        total += product_flops(instruction) or 0.0
        if instruction.opcode in ("fusion", "call", "while", "conditional"):
            total += sum(map(products_in, instruction.called))
    return total


def product_flops(instruction: Instruction) -> float | None:
    """FLOPs of one run of an instruction; None of a call to a kernel whose work is not known."""
    if instruction.opcode == "dot":
        summed = instruction.attribute("lhs_contracting_dims") or ""
        return _dot(instruction, summed)
    if instruction.opcode == "convolution":
        return _convolution(instruction)
    if instruction.opcode != "custom-call":
        return 0.0
    attributes, kernel = instruction.attributes, instruction.kernel
    if kernel in CUBLAS:
        match = re.search(r'lhs_contracting_dimensions":\s*\[([^\]]*)\]', attributes)
        return _dot(instruction, match[1]) if match else None
    if kernel.startswith(CUDNN_ATTENTION):
        return _attention(instruction, BACKWARD if "Backward" in kernel else SCORES_AND_VALUES)
    for name, products in SPLASH.items():
        if f"/{name}" in attributes and kernel == "tpu_custom_call":
            return _splash(instruction, products)
    return 0.0 if kernel in NO_PRODUCT else None


def _dot(instruction: Instruction, summed: str) -> float:
    left = instruction.operands[0].shapes[0].dims
    return 2.0 * instruction.shapes[0].size * math.prod(left[dim] for dim in numbers(summed))


def _splash(instruction: Instruction, products: int) -> float:
    """On [.. N T H], after the blocks that each block meets: [1, n, n] for a causal mask, one side
    shorter for a band. Of n blocks a side the i-th meets i, or the band's if those are fewer."""
    blocks, *arrays = (operand.shapes[0] for operand in instruction.operands)
    queries = next(shape for shape in arrays if shape.dtype.startswith(("bf", "f")))
    *rows, length, head = queries.dims
    width, number = sorted(blocks.dims[1:])
    met = sum(min(block, width) for block in range(1, number + 1))
    return products * 2.0 * math.prod(rows) * met * (length // number) ** 2 * head


def _attention(instruction: Instruction, products: int) -> float | None:
    """cuDNN's flash attention on [B T N H]: each product is over all scores, with a causal mask
    half of them."""
    attributes = instruction.attributes
    scores = re.search(r'intermediate_tensor_shape":.*?"dimensions":\s*\[([^\]]*)\]', attributes)
    if scores is None:
        return None
    causal = re.search(r'"mask_type":\s*"[A-Z_]*CAUSAL', attributes) is not None
    head = instruction.operands[0].shapes[0].dims[-1]
    return products * 2.0 * math.prod(numbers(scores[1])) * head / (2 if causal else 1)


def _convolution(instruction: Instruction) -> float:
    """TPU programs have their products as convolutions, batches among the window's dimensions;
    only what meets no padding and no hole between dilated elements is multiplied."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    assert labels is not None, instruction.attributes
    arrays = (*instruction.operands, instruction)
    left, kernel, result = (
        dict(zip(order, array.shapes[0].dims, strict=True))
        for order, array in zip(labels.groups(), arrays, strict=True)
    )
    flops = 2.0 * kernel["i"] * kernel["o"] * left["b"]
    flops /= int(instruction.attribute("batch_group_count") or 1)
    match = re.search(r"window=\{([^}]*)\}", instruction.attributes)
    window = dict(part.split("=") for part in match[1].split()) if match else {}
    for dim in filter(str.isdigit, left):
        settings = [
            window[name].split("x")[int(dim)] if name in window else usual
            for name, usual in WINDOW.items()
        ]
        flops *= _met(left[dim], kernel[dim], result[dim], *settings)
    return flops


@functools.cache
def _met(left: int, kernel: int, result: int, stride: str, pad: str, hole: str, apart: str) -> int:
    """Pairs of a place in the result and one in the kernel that meet an element, in a dimension."""
    places = np.arange(result)[:, None] * int(stride) - int(pad.split("_")[0])
    places = places + np.arange(kernel) * int(apart)
    whole, rest = np.divmod(places, int(hole))
    return int(((rest == 0) & (whole >= 0) & (whole < left)).sum())
