"""MosaicML's tables of MPT on H100 and on A100 of 80 GB, in bfloat16, all of them."""

import dataclasses

from tests.published.run import Run, gpt

MPT = {
    "70b": gpt(80, 8192, 64, 50_368),
    "30b": gpt(48, 7168, 56, 50_368),
    "13b": gpt(40, 5120, 40, 50_368),
    "7b": gpt(32, 4096, 32, 50_368),
    "3b": gpt(32, 2560, 20, 50_368),
    "1b": gpt(24, 2048, 16, 50_368),
    "760m": gpt(24, 1536, 12, 50_368),
    "350m": gpt(24, 1024, 16, 50_368),
    "125m": gpt(12, 768, 12, 50_368),
}
LARGE = [MPT[size] for size in ("70b", "30b", "13b", "7b")]
"""At 2,048 tokens a row, for which they are written down above."""
# Size, tokens of a row, GPUs, rows a micro-batch, micro-batches, tokens/s a GPU, whether
# activations are checkpointed.
TABLES = {
    "h100": """
        70b    2048 64   8  4   1039 yes
        70b    2048 32   2 16    882 yes
        30b    8192  8   1 21   1384 yes
        30b    4096  8   1 21   1802 yes
        30b    2048 32  14  3   2308 yes
        30b    2048 16  10  3   2263 yes
        30b    2048  8   3 21   2002 yes
        30b    1024  8   6 21   2084 yes
        13b   32768  8   1  3   1976 yes
        13b   16384  8   3  3   2985 yes
        13b    4096  8  10  3   4717 yes
        13b    2048 64   2  1   4800 no
        13b    2048 32   2  1   4811 no
        13b    2048 16   2  1   4767 no
        13b    2048  8   2  1   4792 no
        13b    1024  8  40  3   5502 yes
        7b    65536  8   1  2   1956 yes
        7b    32768  8   2  2   3318 yes
        7b     8192  8   8  2   6935 yes
        7b     4096  8  16  2   8611 yes
        7b     2048  8   6  1  10643 no
        7b     1024  8  64  2  10203 yes
        3b    65536  8   1  2   3262 yes
        3b    32768  8   3  6   5873 yes
        3b    16384  8   1  6  11152 no
        3b     8192  8   3  6  16578 no
        3b     4096  8   5  6  20964 no
        3b     2048 64   6  3  22525 no
        3b     2048 32   6  3  23021 no
        3b     2048 16  10  3  24142 no
        3b     1024  8  20  6  27046 no
        3b      512  8  40  6  27965 no
        1b    65536  8   1  2   5506 yes
        1b    32768  8   1  4  12025 no
        1b    16384  8   2  4  19649 no
        1b     8192  8   3  4  29157 no
        1b     4096  8   7  4  38535 no
        1b     2048 64  20  1  44402 no
        1b     2048 32  20  1  45130 no
        1b     2048 16  20  1  46037 no
        1b     2048  8  14  1  45455 no
        1b     1024  8  18  4  48910 no
        1b      512  8  56  4  52275 no
        760m  32768  8   1  2  16291 no
        760m  16384  8   3  2  27815 no
        760m   8192  8   6  2  41825 no
        760m   4096  8  12  2  55459 no
        760m   2048 32  24  1  67971 no
        760m   2048 16  24  1  68551 no
        760m   2048  8  24  2  63147 no
        760m   1024  8  48  2  78581 no
        760m    512  8  96  2  83749 no
    """,
    "a100": """
        70b    2048 64   8  4    410 yes
        70b    2048 32   2 16    373 yes
        30b    8192  8   1 21    574 yes
        30b    4096  8   1 21    814 yes
        30b    2048  8   3 21    916 yes
        30b    1024  8   6 21    946 yes
        30b     512  8  12 21    967 yes
        13b   32768  8   1  3   1016 yes
        13b   16384  8   3  3   1431 yes
        13b    8192  8   5  3   1795 yes
        13b    4096  8  10  3   2060 yes
        13b    2048  8   2  3   2262 no
        13b    1024  8  40  3   2330 yes
        7b    65536  8   1  2   1013 yes
        7b    32768  8   2  2   1672 yes
        7b    16384  8   4  2   2453 yes
        7b     8192  8   8  2   3206 yes
        7b     4096  8  16  2   3684 yes
        7b     2048  8   6  2   4641 no
        7b     1024  8  64  2   4357 yes
        3b    65536  8   1  2   1767 yes
        3b    32768  8   3  6   3029 yes
        3b    16384  8   1  6   5529 no
        3b     8192  8   3  6   7695 no
        3b     4096  8   5  6   9457 no
        3b     2048  8  10  2  10811 no
        3b     1024  8  20  6  11580 no
        3b      512  8  40  6  12127 no
        1b    65536  8   1  2   3044 yes
        1b    32768  8   1  4   6275 no
        1b    16384  8   2  4   9956 no
        1b     8192  8   3  4  13814 no
        1b     4096  8   7  4  17807 no
        1b     2048  8  14  4  20513 no
        1b     1024  8  18  4  22112 no
        1b      512  8  56  4  23148 no
        760m  65536  8   1  2   4143 yes
        760m  32768  8   1  2   8802 no
        760m  16384  8   3  2  14274 no
        760m   8192  8   6  2  20933 no
        760m   4096  8  12  2  27351 no
        760m   2048  8  24  2  32434 no
        760m   1024  8  48  2  29765 no
        760m    512  8  96  2  29446 no
        350m  65536  8   1  2   7524 no
        350m  32768  8   2  2  13652 no
        350m  16384  8   4  2  23559 no
        350m   8192  8   8  2  36569 no
        350m   4096  8  16  2  49555 no
        350m   2048  8  32  2  58782 no
        350m   1024  8  64  2  64813 no
        350m    512  8 128  2  69330 no
        125m  65536  8   1  2  20368 no
        125m  32768  8   2  2  36407 no
        125m  16384  8   4  2  60040 no
        125m   8192  8   8  2  90392 no
        125m   4096  8  16  2 118396 no
        125m   2048  8  40  2 142830 no
        125m   2048  8  32  2 141737 no
        125m   1024  8  64  2 156468 no
        125m    512  8 128  2 165681 no
    """,
}


def _run(chip: str, line: str) -> Run:
    size, *numbers, checkpointed = line.split()
    length, gpus, rows, micro, rate = map(int, numbers)
    model = dataclasses.replace(MPT[size], max_length=length)
    shape = "" if model in LARGE else f", {rows} x {length:,} tokens"
    return Run(
        name=f"MPT {size}, {gpus} {chip.upper()}{shape}",
        chip=chip,
        model=model,
        sizes={"fsdp": gpus},
        batch_size=gpus * rows * micro,
        length=length,
        accumulation=micro,
        figure=rate,
        unit="tokens/s a chip",
        source="mosaicml/llm-foundry, scripts/train/benchmarking",
        again=float(checkpointed == "yes"),
        attend_again=checkpointed == "yes",
    )


ALL = [_run(chip, line) for chip, rows in TABLES.items() for line in rows.strip().splitlines()]
LARGE_AT_2048 = tuple(run for run in ALL if run.model in LARGE)
OTHER_LENGTHS_AND_SIZES = tuple(run for run in ALL if run.model not in LARGE)
