"""Published runs on GPUs, by publication."""

from launch.presets.preset import preset
from tests.published.mpt import LARGE_AT_2048
from tests.published.run import LLAMA2_7B, LLAMA2_13B, LLAMA2_70B, MAXTEXT, Run, gpt


def a3_runs() -> list[Run]:
    """Llama 2 7B by MaxText on Google's A3, whose nodes have four NICs of 200 Gb/s for 8 GPUs."""
    return [
        Run(
            name=f"MaxText Llama 2 7B, {nodes} x 8 H100",
            chip="h100",
            model=LLAMA2_7B,
            sizes={"replica": nodes, "fsdp": 8},
            batch_size=nodes * 8 * 4,
            length=4096,
            figure=teraflops,
            unit="TFLOP/s a chip",
            source=f"{MAXTEXT}/a3; cloud.google.com/compute/docs/gpus/gpu-network-bandwidth",
            scores_counted="twice",
            network_bandwidth=12.5e9,
        )
        for nodes, teraflops in {1: 492, 2: 422, 4: 407, 8: 409, 16: 375}.items()
    ]


def torchtitan_runs() -> list[Run]:
    """On 64 A100; `selective op` computes every other product again."""
    llama = preset("llama3-8b").model, preset("llama3-70b").model
    rows = [
        ("Llama 3 8B", llama[0], 1, 8192, 2973, 0.5),
        ("Llama 3 70B", llama[1], 1, 8192, 331, 1.0),
        ("Llama 2 13B", LLAMA2_13B, 2, 4096, 2162, 0.0),
        ("Llama 2 70B", LLAMA2_70B, 2, 4096, 353, 1.0),
    ]
    return [
        Run(
            name=f"torchtitan {name}, 64 A100",
            chip="a100",
            model=model,
            sizes={"fsdp": 64},
            batch_size=64 * rows_a_chip,
            length=length,
            figure=rate,
            unit="tokens/s a chip",
            source="pytorch/torchtitan, docs/performance.md (2024)",
            again=again,
            attend_again=again == 1,
        )
        for name, model, rows_a_chip, length, rate, again in rows
    ]


def megatron_runs() -> list[Run]:
    """With pipelines, all activations recomputed but in the last, on DGX A100."""
    mt_nlg = preset("mt-nlg-530b").model
    first = Run(
        name="",
        chip="a100",
        model=mt_nlg,
        sizes={},
        batch_size=1920,
        length=2048,
        figure=0.0,
        unit="seconds a step",
        source="Smith et al. 2022, section 2.4",
        scores_counted="twice",
        again=1.0,
        attend_again=True,
        scores=True,
    )
    smith = [
        first._replace(
            name=f"MT-NLG 530B, {8 * nodes} A100",
            sizes={"replica": replicas, "stage": 35, "tensor": 8},
            accumulation=1920 // replicas,
            figure=seconds,
        )
        for nodes, replicas, seconds in [(280, 8, 60.1), (350, 10, 50.2), (420, 12, 44.4)]
    ]
    # The paper says that stages are interleaved; its authors' script for this run does not ask so.
    trillion = first._replace(
        name="Megatron-LM 1T, 3072 A100",
        model=gpt(128, 25600, 160, 51_200),
        sizes={"replica": 6, "stage": 64, "tensor": 8},
        batch_size=3072,
        accumulation=512,
        figure=502e3 / 3072,
        unit="TFLOP/s a chip",
        source="Narayanan et al. 2021, abstract and Table 1; NVIDIA/Megatron-LM, examples/sc21",
        recomputation_counted=True,
    )
    recomputed = first._replace(
        name="Megatron-LM 530B, 2240 A100, all recomputed",
        sizes={"replica": 8, "stage": 35, "tensor": 8},
        batch_size=2240,
        accumulation=280,
        figure=0.421 * 312,
        unit="TFLOP/s a chip",
        source="Korthikanti et al. 2022, abstract and section 6",
        chunks=3,
    )
    kept = recomputed._replace(
        name="Megatron-LM 530B, 2240 A100, attention recomputed", figure=0.542 * 312, again=0.0
    )
    return [*smith, trillion, recomputed, kept]


# Four links of 100 Gb/s for the eight GPUs of a node.
BLOOM = Run(
    name="BLOOM 176B, 384 A100",
    chip="a100",
    model=gpt(70, 14336, 112, 250_680),
    sizes={"replica": 8, "stage": 12, "tensor": 4},
    batch_size=2048,
    length=2048,
    accumulation=128,
    figure=150,
    unit="TFLOP/s a chip",
    source="BigScience, bigscience.notion.site; Le Scao et al. 2022, section 3.4",
    scores_counted="twice",
    recomputation_counted=True,
    again=1.0,
    attend_again=True,
    scores=True,
    network_bandwidth=6.25e9,
)


def llama3_runs() -> list[Run]:
    """Nothing recomputed; parts of one layer a stage are assumed, and that scores count once."""
    return [
        Run(
            name=f"Llama 3 405B, {128 * replicas} H100",
            chip="h100",
            model=preset("llama3-405b").model,
            sizes={"replica": replicas, "stage": 16, "tensor": 8},
            batch_size=2048,
            length=8192,
            accumulation=2048 // replicas,
            figure=teraflops,
            unit="TFLOP/s a chip",
            source="Dubey et al. 2024, Table 4",
            chunks=8,
        )
        for replicas, teraflops in [(64, 430), (128, 400)]
    ]


GPU_RUNS = (
    *a3_runs(),
    *LARGE_AT_2048,
    *torchtitan_runs(),
    *megatron_runs(),
    BLOOM,
    *llama3_runs(),
)
