"""Complete runs by name: functions whose docstrings say what to expect and where sizes come from.

The published families keep the sizes of their papers and take the optimizer settings of the
papers as far as AdamW has them. They read text from `corpus/*.txt` and a tokenizer from
`corpus/tokenizer.json`; `--data.sources` and `--data.tokenizer` point elsewhere.
"""

import difflib
from collections.abc import Callable

from data.config import DataConfig
from data.errors import UserError
from launch.config import RunConfig
from launch.presets.convnets import CONVNETS
from launch.presets.encoder_decoders import ENCODER_DECODERS
from launch.presets.encoders import ENCODERS
from launch.presets.open_weights import OPEN_WEIGHTS
from launch.presets.recurrent import RECURRENT
from launch.presets.size import Size, published
from launch.presets.vision import VISION
from model.families.decoder_config import DecoderConfig
from model.families.rope_scaling import RopeScaling
from train.config import CheckpointConfig, OptimizerConfig, TrainConfig


def tiny(name: str) -> RunConfig:
    """A 1 M parameter byte model on the sources of Python's standard library.

    Command: `meshloom train tiny`. Hardware: any CPU. Expect about two minutes on 2 cores.
    Source: sizes of our own.
    """
    return RunConfig(
        preset=name,
        model=DecoderConfig(
            vocab_size=257,
            vocab_multiple=8,
            num_layers=4,
            embed_dim=128,
            num_heads=4,
            num_kv_heads=4,
            head_dim=32,
            mlp_dim=512,
            max_length=256,
            norm="rmsnorm",
            positions="rotary",
            activation="silu",
            gated=True,
            bias=False,
        ),
        data=DataConfig(),
        train=TrainConfig(
            steps=200,
            batch_size=16,
            eval_every=100,
            optimizer=OptimizerConfig(learning_rate=3e-3, warmup_steps=20),
            checkpoint=CheckpointConfig(every_steps=100),
        ),
    )


GPT2_VOCABULARY = 50_257
GPT2_SIZES = {
    "gpt2-124m": Size(12, 768, 12, 12, 3072, 512, 6e-4, 600_000),
    "gpt2-355m": Size(24, 1024, 16, 16, 4096, 512, 3e-4, 600_000),
    "gpt2-774m": Size(36, 1280, 20, 20, 5120, 512, 2.5e-4, 600_000),
    "gpt2-1.5b": Size(48, 1600, 25, 25, 6400, 512, 2e-4, 600_000),
}


def gpt2(name: str) -> RunConfig:
    """GPT-2: LayerNorm, learned positions, GELU, biases, tied embedding, 1,024 tokens.

    Command: `meshloom train gpt2-124m --data.sources 'jsonl:web/*.jsonl.zst'`. Hardware: one
    accelerator of 80 GB for 124m (with `--train.accumulation 8`), eight for 1.5b. nanoGPT reports
    a loss of 2.85 for 124m at this length on OpenWebText, in about 4 days on eight A100. The paper
    gives batch 512 but neither rate nor length; the rates are GPT-3's for the nearest size.
    Source: Radford et al. 2019, Table 2; parameters as in the released weights.
    """
    size = GPT2_SIZES[name]
    model = size.model(vocab_size=GPT2_VOCABULARY, max_length=1024)
    return published(name, size, model, warmup=2000, beta2=0.95)


GPT3_SIZES = {
    "gpt3-125m": Size(12, 768, 12, 12, 3072, 256, 6e-4, 572_205),
    "gpt3-350m": Size(24, 1024, 16, 16, 4096, 256, 3e-4, 572_205),
    "gpt3-760m": Size(24, 1536, 16, 16, 6144, 256, 2.5e-4, 572_205),
    "gpt3-1.3b": Size(24, 2048, 16, 16, 8192, 512, 2e-4, 286_103),
    "gpt3-2.7b": Size(32, 2560, 32, 32, 10240, 512, 1.6e-4, 286_103),
    "gpt3-6.7b": Size(32, 4096, 32, 32, 16384, 1024, 1.2e-4, 143_052),
    "gpt3-13b": Size(40, 5120, 40, 40, 20480, 1024, 1e-4, 143_052),
    "gpt3-175b": Size(96, 12288, 96, 96, 49152, 1600, 0.6e-4, 91_553),
}
GPT3_WINDOW = 256


def gpt3(name: str) -> RunConfig:
    """GPT-3: GPT-2's block over 2,048 tokens, every other layer banded, 300 B tokens.

    Command: `meshloom train gpt3-1.3b --mesh.fsdp 64`. Hardware: 125m one accelerator, 175b about
    1,280 of 80 GB (`--mesh.replica 5 --mesh.fsdp 32 --mesh.tensor 8 --model.vocab-multiple 128`).
    The paper fits validation loss on its own corpus by 2.57 C^-0.048 for C petaflop/s-days: 1.73
    nats a token for 175b.
    Table 2.1's 24 heads of 128 for XL (D 2048) and width 5140 for 13B contradict the parameter
    counts of Table D.1; 16 heads and 5120 give them. The paper names no band width; 256 is ours.
    Source: Brown et al. 2020, Tables 2.1 and D.1, appendix B.
    """
    size = GPT3_SIZES[name]
    model = size.model(vocab_size=GPT2_VOCABULARY, max_length=2048, window=GPT3_WINDOW)
    warmup = round(375e6 / (size.batch_size * 2048))
    return published(name, size, model, warmup=warmup, beta2=0.95)


MEGATRON_SIZES = {
    "mt-nlg-530b": (Size(105, 20480, 128, 128, 81920, 1920, 5e-5, 68_665), 4e-3),
    "megatron-1t": (Size(128, 25600, 160, 160, 102400, 3072, 5e-5, 71_526), 3.6e-3),
}
"""And the standard deviation of the initial weights."""


def megatron(name: str) -> RunConfig:
    """Megatron-Turing NLG 530B and Megatron-LM's 1T: GPT-2's block over 2,048 tokens.

    Command: `meshloom train mt-nlg-530b --mesh.replica 30 --mesh.fsdp 8 --mesh.tensor 8
    --model.vocab-multiple 128`. Hardware: the command's 1,920 accelerators of 80 GB; 530b had
    2,240 to 3,360 at 60 to 44 seconds a step for 270 B tokens, and tables no loss. 1t was timed on
    3,072 and never trained: 450 B tokens are the paper's, rate and warm-up those of 530b. The
    vocabulary is GPT-2's.
    Source: Smith et al. 2022, sections 2.3 and 3.1; Narayanan et al. 2021, Table 1.
    """
    size, std = MEGATRON_SIZES[name]
    model = size.model(vocab_size=GPT2_VOCABULARY, max_length=2048, init_std=std)
    return published(name, size, model, warmup=254, beta2=0.95)


PALM_SIZES = {
    "palm-8b": Size(32, 4096, 16, 1, 16384, 512, 3e-4, 743_866),
    "palm-62b": Size(64, 8192, 32, 1, 32768, 1024, 1.5e-4, 371_933),
    "palm-540b": Size(118, 18432, 48, 1, 73728, 2048, 8e-5, 185_967),
}


def palm(name: str) -> RunConfig:
    """PaLM: parallel block, multi-query heads of 256, RoPE, SwiGLU, no biases, 780 B tokens.

    Command: `meshloom train palm-8b --mesh.fsdp 64`. Hardware: 8b from 64 accelerators, 540b the
    paper's 6,144 TPU v4 for 1,200 hours after 336 on 3,072. The paper trains with Adafactor at
    1e-2; rates here are for AdamW, so its losses are no target. The batch is the paper's last.
    Source: Chowdhery et al. 2022, Table 1, sections 2 and 5.
    """
    size = PALM_SIZES[name]
    model = size.model(
        vocab_size=256_000,
        head_dim=256,
        max_length=2048,
        positions="rotary",
        activation="silu",
        gated=True,
        bias=False,
        parallel_block=True,
        scale_embedding=True,
    )
    return published(name, size, model, warmup=10_000, beta2=0.99, z_loss=1e-4)


LLAMA3_SIZES = {
    "llama3-1b": Size(16, 2048, 32, 8, 8192, 512, 3e-4, 2_145_767),
    "llama3-3b": Size(28, 3072, 24, 8, 8192, 512, 3e-4, 2_145_767),
    "llama3-8b": Size(32, 4096, 32, 8, 14336, 1024, 3e-4, 1_788_140),
    "llama3-70b": Size(80, 8192, 64, 8, 28672, 2048, 1.5e-4, 894_070),
    "llama3-405b": Size(126, 16384, 128, 8, 53248, 2048, 8e-5, 929_833),
}


def llama3(name: str) -> RunConfig:
    """Llama 3.2 (1b, 3b; tied embedding) and 3.1: RMSNorm, RoPE, SwiGLU, grouped heads.

    Command: `meshloom train llama3-8b --mesh.fsdp 64`. Hardware: 1b one accelerator of 80 GB, 8b
    from 16, 405b thousands (the paper: up to 16,384). Lengths are 9 T tokens for 1b and 3b, 15 T
    for 8b and 70b and 15.6 T for 405b, in rows of 8,192 tokens as in most of pre-training; no
    table gives a loss.
    Source: Dubey et al. 2024, Table 3; parameters as in the released weights.
    """
    size, small = LLAMA3_SIZES[name], name in ("llama3-1b", "llama3-3b")
    model = size.model(
        vocab_size=128_256,
        max_length=131_072,
        norm="rmsnorm",
        positions="rotary",
        rope_theta=500_000.0,
        rope_scaling=RopeScaling(kind="llama3", factor=32.0 if small else 8.0),
        activation="silu",
        gated=True,
        bias=False,
        tied_embedding=small,
    )
    return published(name, size, model, length=8192, warmup=8000, beta2=0.95)


PRESETS: dict[str, Callable[[str], RunConfig]] = {
    "tiny": tiny,
    **dict.fromkeys(GPT2_SIZES, gpt2),
    **dict.fromkeys(GPT3_SIZES, gpt3),
    **dict.fromkeys(PALM_SIZES, palm),
    **dict.fromkeys(MEGATRON_SIZES, megatron),
    **dict.fromkeys(LLAMA3_SIZES, llama3),
    **OPEN_WEIGHTS,
    **ENCODERS,
    **ENCODER_DECODERS,
    **CONVNETS,
    **RECURRENT,
    **VISION,
}


def preset(name: str) -> RunConfig:
    """The run of that name; ValueError names the nearest presets when there is none."""
    if name not in PRESETS:
        near = [known for known in PRESETS if known.startswith(name)][:3]
        near = near or difflib.get_close_matches(name, PRESETS, n=3, cutoff=0.4) or ["tiny"]
        raise UserError(
            f"preset={name} must be one of the {len(PRESETS)} that `meshloom presets` lists, "
            f"because those are all there are; try {' or '.join(near)}"
        )
    return PRESETS[name](name)


def source(name: str) -> str:
    """Where the sizes of a preset come from, as its function's docstring says it."""
    text = PRESETS[name].__doc__ or ""
    return " ".join(text.split("Source: ")[1].split()).rstrip(".")
