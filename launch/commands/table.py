"""The table of commands. A command's module has `main(arguments)` and is imported when it runs."""

import importlib
from typing import NamedTuple

from launch.schema.command_line import unknown


class Command(NamedTuple):
    module: str
    summary: str


COMMANDS = {
    "train": Command("train", "train a preset, or continue a run"),
    "evaluate": Command("evaluate", "loss and perplexity of a checkpoint on held-out text"),
    "generate": Command("generate", "continue a text with a checkpoint"),
    "chat": Command("chat", "talk with a checkpoint in the terminal"),
    "predict": Command("predict", "label texts, tag words, or answer questions with a checkpoint"),
    "embed": Command("embed", "write sentence embeddings by a checkpoint"),
    "explain": Command("explain", "show what a checkpoint looks at in a text"),
    "export": Command("export", "write a checkpoint for transformers, vLLM or llama.cpp"),
    "checkpoint": Command("checkpoint", "list, verify, compare and prune a run's checkpoints"),
    "goodput": Command("goodput", "show where the wall time of a run went"),
    "data": Command("data", "prepare token stores and tokenizers"),
    "plan": Command("plan", "predict what a run will need on a cluster, without it"),
    "ladder": Command("ladder", "scaling experiments by model size"),
    "presets": Command("presets", "list the presets with their sizes"),
    "verify-resume": Command("verify_resume", "prove that killed runs resume bit by bit"),
    "launch": Command("launch", "start a command as several processes"),
}


def require_command(name: str) -> None:
    """UsageError, which names the nearest, if there is no command of that name."""
    if name not in COMMANDS:
        raise unknown("meshloom", name, COMMANDS)


def run(name: str, arguments: list[str]) -> int:
    """Run the command of that name and return its exit code."""
    require_command(name)
    module = importlib.import_module(f"launch.commands.{COMMANDS[name].module}")
    return module.main(arguments) or 0
