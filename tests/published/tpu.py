"""Published runs on TPUs, by chip."""

from launch.presets.preset import preset
from tests.published.run import LLAMA2_70B, MAXTEXT, Run, gpt, llama
from train.cut import recomputed

# The sizes of `global_parameter_scale`: layers, width, heads, mlp.
SCALED = {
    16: llama(32, 4096, 64, 64, 28672, 32_000),
    32: llama(32, 8192, 64, 64, 28672, 32_000),
    64: llama(64, 8192, 64, 64, 28672, 32_000),
    128: llama(64, 8192, 128, 128, 57344, 32_000),
    256: llama(64, 16384, 128, 128, 57344, 32_000),
    512: llama(128, 16384, 128, 128, 57344, 32_000),
    1024: llama(128, 16384, 256, 256, 114688, 32_000),
}


def _scaled(
    chip: str,
    scale: int,
    slices: int,
    chips: int,
    tensor: int,
    rows: int,
    teraflops: float,
    full: bool,
) -> Run:
    """A run of MaxText's tables: `rows` a chip, replicas over slices."""
    names = {"v5p": 2 * chips, "v5e": chips}
    return Run(
        name=f"MaxText {scale}B, {slices} x {chip}-{names[chip]}",
        chip=chip,
        model=SCALED[scale],
        sizes={"replica": slices, "fsdp": chips // tensor, "tensor": tensor},
        batch_size=slices * chips * rows,
        length=2048,
        figure=teraflops,
        unit="TFLOP/s a chip",
        source=f"{MAXTEXT}/{chip}",
        scores_counted="twice",
        again=recomputed(SCALED[scale]) if full else 0.0,
        attend_again=True,
    )


def v4_runs() -> list[Run]:
    rows = [(22, 64, 13, {1: 156, 2: 152, 4: 149, 8: 146}), (52, 192, 7, {1: 154, 2: 162})]
    models = {22: gpt(48, 6144, 24, 32_000, 256), 52: gpt(32, 12288, 32, 32_000, 256)}
    return [
        Run(
            name=f"MaxText {size}B, {slices} x v4-{2 * chips}",
            chip="v4",
            model=models[size],
            sizes={"replica": slices, "fsdp": chips},
            batch_size=slices * chips * per_chip,
            length=2048,
            figure=teraflops,
            unit="TFLOP/s a chip",
            source=f"{MAXTEXT}/v4",
            scores_counted="twice",
            again=recomputed(models[size]),
            attend_again=True,
        )
        for size, chips, per_chip, figures in rows
        for slices, teraflops in figures.items()
    ]


def v5p_runs() -> list[Run]:
    rows = [
        (32, 64, 4, 7, {1: 328, 2: 319}, False),
        (64, 64, 4, 3, {1: 323, 2: 309}, False),
        (128, 128, 8, 1, {1: 315, 2: 305}, False),
        (128, 256, 8, 1, {1: 316, 2: 274}, False),
        (256, 512, 8, 1, {1: 308, 2: 289}, False),
        (512, 512, 8, 2, {1: 294, 2: 282}, True),
        (1024, 1024, 16, 2, {1: 254, 2: 237}, True),
        (1024, 2048, 16, 2, {1: 297, 2: 279}, True),
    ]
    return [
        _scaled("v5p", scale, slices, chips, tensor, per_chip, teraflops, full)
        for scale, chips, tensor, per_chip, figures, full in rows
        for slices, teraflops in figures.items()
    ]


def v5e_runs() -> list[Run]:
    rows = [
        (16, 1, 6, {1: 120, 4: 117, 16: 111}, True),
        (32, 1, 4, {1: 132, 4: 126, 16: 123}, True),
        (64, 1, 2, {1: 118, 4: 110, 16: 105}, True),
        (128, 16, 1, {1: 110, 4: 108, 16: 100}, False),
    ]
    return [
        _scaled("v5e", scale, slices, 256, tensor, per_chip, teraflops, full)
        for scale, tensor, per_chip, figures, full in rows
        for slices, teraflops in figures.items()
    ]


def tiered_runs() -> list[Run]:
    """MaxText's table of optimized models, in tokens a second."""
    source = "maxtext.readthedocs.io, reference/models/tiering; MaxText, benchmarks"
    llama = preset("llama3-8b").model, preset("llama3-70b").model
    rows = [
        ("Llama 2 70B", "v5p", LLAMA2_70B, 512, 4, 4096, 692, 0.55),
        ("Llama 2 70B", "v6e", LLAMA2_70B, 256, 2, 4096, 900, 0.63),
        ("Llama 3.1 8B", "v6e", llama[0], 256, 4, 8192, 7207, 0.54),
        ("Llama 3.1 70B", "v6e", llama[1], 256, 4, 8192, 960, 0.63),
    ]
    return [
        Run(
            name=f"MaxText {name}, {chips} {chip}",
            chip=chip,
            model=model,
            sizes={"fsdp": chips},
            batch_size=chips * per_chip,
            length=length,
            figure=rate,
            unit="tokens/s a chip",
            source=source,
            again=again,
            attend_again=True,
        )
        for name, chip, model, chips, per_chip, length, rate, again in rows
    ]


PALM = Run(
    name="PaLM 540B, 2 x 3072 v4",
    chip="v4",
    model=preset("palm-540b").model,
    sizes={"replica": 2, "fsdp": 256, "tensor": 12},
    batch_size=2048,
    length=2048,
    figure=238_300 / 6144,
    unit="tokens/s a chip",
    source="Chowdhery et al. 2022, sections 4 and 4.1",
    # Hardware over model FLOPs utilization, 57.8 / 46.2 %, is a quarter of three passes.
    again=0.75,
    attend_again=True,
    shape=(8, 16, 24),
)


TPU_RUNS = (*v4_runs(), PALM, *v5e_runs(), *v5p_runs(), *tiered_runs())
