"""Products of lines as the compilers of TPUs and GPUs write them."""

import pytest

from launch.plan.program.compiled import work_in
from launch.plan.program.hlo import Program

SPLASH = """custom-call(%mask, %mask, %q, %k, %k), custom_call_target="tpu_custom_call", frontend_attributes={{kernel_metadata={{
"xprof_metadata":"{{\\"block_q\\": 512}}"
}}}}, metadata={{op_name="jit(train_step)/jvp()/shard_map/vmap(static_sparsity_splash)/jit(_splash_attention)/{kernel}/{kernel}/pallas_call" stack_frame_id=9}}"""  # noqa: E501
CUDNN = """custom-call(%q, %k, %k), custom_call_target="__cudnn$fmha{name}", backend_config={{"cudnn_fmha_backend_config": {{"fmha_scale": 0.17, "intermediate_tensor_shape": {{"element_type": "BF16", "dimensions": ["2", "4", "256", "256"]}}, "is_flash_attention": true, "mask_type": "{mask}"}}}}"""  # noqa: E501
CUBLAS = """custom-call(%x, %w), custom_call_target="__cublas$lt$matmul", backend_config={"operation_queue_id":"0","gemm_backend_config":{"alpha_real":1,"beta":0,"dot_dimension_numbers":{"lhs_contracting_dimensions":["1"],"rhs_contracting_dimensions":["0"],"lhs_batch_dimensions":[],"rhs_batch_dimensions":[]}}}"""  # noqa: E501
BLOCK = 2 * 512 * 512 * 32  # a product of one block of splash attention
SCORES = 2 * 2 * 4 * 256 * 256 * 32  # a product of cuDNN's attention


def program_of(result: str, line: str, **operands: str) -> Program:
    parameters = "\n".join(
        f"  %{name} = {shape} parameter({place})"
        for place, (name, shape) in enumerate(operands.items())
    )
    root = f"  ROOT %made = {result} {line}"
    return Program(f"HloModule line\n\nENTRY %main () -> x {{\n{parameters}\n{root}\n}}\n")


@pytest.mark.parametrize(
    ("result", "line", "operands", "flops"),
    [
        (
            "f32[8,4,16]{2,1,0}",
            "dot(%x, %w), lhs_batch_dims={0}, lhs_contracting_dims={2}, rhs_batch_dims={0}",
            {"x": "f32[8,4,32]{2,1,0}", "w": "f32[8,32,16]{2,1,0}"},
            2 * 8 * 4 * 32 * 16,
        ),
        (
            "bf16[512,64]{0,1:T(8,128)(2,1)}",
            "convolution(%x, %w), dim_labels=bf_oi->bf",
            {"x": "bf16[512,128]{1,0:T(8,128)(2,1)S(1)}", "w": "bf16[64,128]{1,0}"},
            2 * 512 * 128 * 64,
        ),
        (  # scores of two rows and three heads, which are dimensions of the window
            "f32[2,3,256,128]{2,3,1,0:T(8,128)}",
            "convolution(%x, %w), window={size=2x3 lhs_dilate=2x3}, dim_labels=0b1f_0o1i->01bf",
            {"x": "bf16[2,256,3,32]{3,1,2,0}", "w": "bf16[2,128,3,32]{3,1,2,0}"},
            2 * 2 * 3 * 256 * 128 * 32,
        ),
        (
            "f32[4,6,8]{2,1,0}",
            "convolution(%x, %w), window={size=3 pad=1_1}, dim_labels=b0f_0io->b0f",
            {"x": "f32[4,6,5]{2,1,0}", "w": "f32[3,5,8]{2,1,0}"},
            2 * 4 * (3 * 6 - 2) * 5 * 8,
        ),
        (
            "(bf16[512,192]{1,0}, s8[33554432]{0})",
            CUBLAS,
            {"x": "bf16[512,128]{1,0}", "w": "bf16[128,192]{1,0}"},
            2 * 512 * 128 * 192,
        ),
        *[
            (
                "(bf16[2,4,256,32]{3,1,2,0}, f32[2,4,256]{2,1,0}, u8[0]{0})",
                CUDNN.format(name=name, mask=mask),
                dict.fromkeys("qk", "bf16[2,256,4,32]{3,2,1,0}"),
                flops,
            )
            for name, mask, flops in (
                ("Softmax", "CAUSAL", 2 * SCORES / 2),
                ("ScaleBiasSoftmax", "NO_MASK", 2 * SCORES),
                ("ScaleBiasSoftmaxBackward", "NO_MASK", 5 * SCORES),
            )
        ],
        *[
            (
                "(f32[4,2048,128]{2,1,0:T(8,128)}, bf16[2,4,2048,32]{3,2,1,0:T(8,128)(2,1)})",
                SPLASH.format(kernel=kernel),
                {"mask": f"s8[1,{grid}]{{2,1,0}}", **dict.fromkeys("qk", "bf16[2,4,2048,32]")},
                2 * 4 * blocks * products * BLOCK,
            )
            for kernel, grid, blocks, products in (
                ("splash_mha_fwd_segmented_residuals", "4,4", 1 + 2 + 3 + 4, 2),
                ("splash_mha_fwd_residuals", "4,2", 1 + 2 + 2 + 2, 2),
                ("splash_mha_dq_no_residuals", "4,2", 1 + 2 + 2 + 2, 3),
                ("splash_mha_dkv_no_residuals", "2,4", 1 + 2 + 2 + 2, 4),
            )
        ],
    ],
)
def test_products_of_an_instruction(
    result: str, line: str, operands: dict[str, str], flops: float
) -> None:
    read = work_in(program_of(result, line, **operands), {"fsdp": 1})
    assert (read.work.matmul_flops, read.uncounted) == (flops, {})


def test_a_kernel_that_is_not_known_is_named() -> None:
    line = 'custom-call(%x), custom_call_target="tpu_custom_call", metadata={op_name="mine"}'
    result = work_in(program_of("f32[8]", line, x="f32[8]"), {"fsdp": 1})
    assert (result.work.matmul_flops, result.uncounted) == (0, {"tpu_custom_call": 1})


def test_of_two_branches_that_with_more_products_counts() -> None:
    """Banded attention is the longer branch here, dense attention has more products."""
    text = """HloModule branches

%dense (a: f32[8,8]) -> f32[8,8] {
  %a = f32[8,8]{1,0} parameter(0)
  ROOT %b = f32[8,8]{1,0} dot(%a, %a), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%banded (c: f32[8,8]) -> f32[8,8] {
  %c = f32[8,8]{1,0} parameter(0)
  %d = f32[8,8]{1,0} negate(%c)
  ROOT %e = f32[8,8]{1,0} add(%c, %d)
}

ENTRY %main (p: pred[], x: f32[8,8]) -> f32[8,8] {
  %p = pred[] parameter(0)
  %x = f32[8,8]{1,0} parameter(1)
  ROOT %y = f32[8,8]{1,0} conditional(%p, %x, %x), BRANCHES
}
"""
    for branches in (
        "true_computation=%banded, false_computation=%dense",
        "branch_computations={%dense, %banded}",
    ):
        result = work_in(Program(text.replace("BRANCHES", branches)), {"fsdp": 1})
        assert result.work.matmul_flops == 2 * 8 * 8 * 8
