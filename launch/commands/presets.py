"""`meshloom presets`: every preset with its sizes, as a table or as JSON."""

import json
import sys
from dataclasses import dataclass
from typing import Any

from launch.presets.preset import PRESETS, preset, source
from launch.schema.command_line import parse
from train.report.numbers import COUNTS, in_unit


@dataclass(frozen=True, kw_only=True)
class PresetsOptions:
    """List every preset with its sizes."""

    json: bool = False
    """Print JSON, one object a preset, instead of a table."""


def describe(name: str) -> dict[str, Any]:
    """Sizes of one preset, with the training FLOPs of a token at the preset's row length."""
    from model.flops import embedding_parameters, flops_per_token, parameter_count

    config = preset(name)
    model, length = config.model, config.data.sequence_length
    parameters = parameter_count(model)
    return {
        "name": name,
        "parameters": parameters,
        "parameters_without_embeddings": parameters - embedding_parameters(model),
        **model.sizes(),
        "length": length,
        "flops_per_token": flops_per_token(model, length, config.data.scored_share),
        "source": source(name),
    }


def main(arguments: list[str]) -> None:
    """Print all presets."""
    options = parse(PresetsOptions, arguments, prog="meshloom presets")
    rows = [describe(name) for name in PRESETS]
    if options.json:
        json.dump(rows, sys.stdout, indent=2)
        print()
        return
    head = (
        f"{'preset':<16}{'params':>8}{'w/o emb':>9}{'L':>5}{'D':>7}{'F':>7}{'N/K':>9}{'T':>6}"
        f"{'FLOPs/token':>13}"
    )
    print(head + "\n" + "-" * len(head))
    cited = ""
    for row in rows:
        if row["source"] != cited:
            cited = row["source"]
            print(f"# {cited}")
        heads = f"{row['heads']}/{row.get('kv_heads', row['heads'])}" if "heads" in row else "-"
        flops = f"{row['flops_per_token']:.3g}" if row["flops_per_token"] else "-"
        print(
            f"{row['name']:<16}{_short(row['parameters']):>8}"
            f"{_short(row['parameters_without_embeddings']):>9}{row['layers']:>5}{row['width']:>7}"
            f"{row.get('mlp_width', '-'):>7}{heads:>9}{row['length']:>6}{flops:>13}"
        )
    print(
        "\nparams with and without embeddings; L layers, D model width, F feed-forward"
        "\nwidth, N/K query/key-value heads, T tokens in a row; FLOPs of training"
    )


def _short(count: int) -> str:
    """Four digits: 886K, 124.4M, 1.236B."""
    number, unit = in_unit(count, COUNTS[1:])
    return f"{number:.4g}{unit}"
