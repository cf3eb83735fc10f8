"""The command `meshloom`: finds the subcommand, parses its flags, reports errors and exit codes.

Each command's code is imported only when it runs, so that `--help` stays fast.
"""

import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from data.errors import UserError
from launch.process import exits
from launch.schema.command_line import UsageError, parse, split_command, unknown


class Command(NamedTuple):
    run: Callable[[list[str]], int | None]
    summary: str


def program(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line as a process of its own, and end it with `main`'s exit code.

    After a failure it ends at once when jax runs: it would wait for its peers, and threads of
    other libraries would have the last word.
    """
    from launch.process.runtime import die_with_launcher

    exits.be_program()
    _open_streams()
    die_with_launcher()
    exits.watch_threads()
    code = main(argv)
    if code and "jax" in sys.modules:
        exits.take_last_word()
        exits.leave(code)
    sys.exit(code)


def _open_streams() -> None:
    """Let stdout and stderr take any text, whatever their encoding: what it lacks is written as
    `\\xe4`. Streams that are closed lead nowhere, so that no file takes their place."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        if number:
            setattr(sys, ("stdout", "stderr")[number - 1], open(number, "w", encoding="utf-8"))
    os.close(number)
    for stream in sys.stdout, sys.stderr:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, one of `launch.process.exits`."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()  # a full disk is told here, and not when Python ends
    except UsageError as error:
        exits.complain(str(error))
        return exits.USAGE
    except KeyboardInterrupt:
        exits.complain("interrupted")
        return 130
    except BrokenPipeError:
        # Whoever read our output, such as `head`, has gone; nothing more can be told.
        _forget_output()
        return 141
    except Exception as error:
        message = exits.for_user(error)
        if message is None:
            traceback.print_exc()
            return exits.UNEXPECTED
        exits.complain(message)
        try:
            sys.stdout.flush()
        except OSError:
            _forget_output()  # else Python tries again when it ends, with a code of its own
        return exits.REFUSED


def _forget_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if arguments[0] == "--version":
        from launch.run.directory import environment

        told = environment()
        for name, version in {**told["versions"], "python": told["python"]}.items():
            print(f"{name} {version}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise unknown("meshloom", name, COMMANDS)
    _require_own_checkout()
    return COMMANDS[name].run(rest) or 0


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: meshloom COMMAND ...",
            "",
            "Train Transformers of any size on any mesh of accelerators.",
            "",
            *lines,
            "",
            "`meshloom COMMAND --help` documents every flag of a command;",
            "`meshloom --version` tells the versions of what it runs on.",
        ]
    )


def _train(arguments: list[str]) -> int:
    from launch.commands.train_arguments import train_options

    options = train_options(arguments)
    from launch.run.train import train

    trained = train(
        options.run,
        run_dir=options.run_dir,
        resume=options.resume,
        resume_or_start=options.resume_or_start,
        overwrite=options.overwrite,
    )
    return exits.DONE if trained.finished else exits.STOPPED


def _evaluate(arguments: list[str]) -> None:
    from launch.commands.options import EvaluateOptions

    options = parse(EvaluateOptions, arguments, prog="meshloom evaluate")
    from launch.run.evaluate import evaluate
    from train.report.console import describe_evaluation

    step, measures = evaluate(
        options.run,
        step=options.step,
        batches=options.batches,
        data=options.data,
        mesh=options.mesh,
        distributed=options.distributed,
    )
    if _is_first():
        print(f"step {step}  {describe_evaluation(measures)}")


def _generate(arguments: list[str]) -> None:
    from launch.commands.options import GenerateOptions

    options = parse(GenerateOptions, arguments, prog="meshloom generate")
    from data.tokenizer import visible
    from launch.run.generate import generate

    texts = generate(
        options.run,
        [options.prompt] * options.samples,
        step=options.step,
        tokens=options.tokens,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        seed=options.seed,
        data=options.data,
        mesh=options.mesh,
    )
    if not _is_first():
        return
    for number, text in enumerate(texts, start=1):
        if options.samples > 1:
            print(f"--- {number} of {options.samples}")
        print(visible(options.prompt) + text)


def _is_first() -> bool:
    """Whether this process is the one of its job that prints."""
    import jax

    return jax.process_index() == 0


def _goodput(arguments: list[str]) -> None:
    from launch.commands.options import GoodputOptions

    options = parse(GoodputOptions, arguments, prog="meshloom goodput")
    from launch.run.goodput import goodput

    goodput(options)


def _data(arguments: list[str]) -> None:
    from launch.commands.data import main as data_main

    data_main(arguments)


def _checkpoint(arguments: list[str]) -> int | None:
    from launch.commands.checkpoint import main as checkpoint_main

    return checkpoint_main(arguments)


def _ladder(arguments: list[str]) -> int | None:
    from launch.commands.ladder import main as ladder_main

    return ladder_main(arguments)


def _plan(arguments: list[str]) -> None:
    from launch.commands.plan import main as plan_main

    plan_main(arguments)


def _presets(arguments: list[str]) -> None:
    from launch.commands.options import PresetsOptions

    options = parse(PresetsOptions, arguments, prog="meshloom presets")
    from launch.commands.presets import show

    show(json_format=options.json)


def _launch(arguments: list[str]) -> int | None:
    from launch.commands.launch import launch

    return launch(arguments)


def _verify_resume(arguments: list[str]) -> int:
    from launch.commands.options import VerifyResumeOptions

    own, words = split_command(arguments, VerifyResumeOptions)
    options = parse(VerifyResumeOptions, own, prog="meshloom verify-resume")
    if not words:
        raise UsageError(
            "meshloom verify-resume needs a preset and flags of `train`, as in "
            "`meshloom verify-resume --kills 5 tiny --train.steps 60`"
        )
    from launch.commands.train_arguments import train_options

    asked = train_options(words)
    if asked.run_dir is not None or asked.resume or asked.overwrite:
        raise UsageError(
            "meshloom verify-resume begins runs of its own, in --folder; try without --run-dir, "
            "--resume, --resume-or-start and --overwrite"
        )
    from launch.commands.verify_resume import verify_resume

    return verify_resume(options, words)


COMMANDS = {
    "train": Command(_train, "train a preset, or go on with a run"),
    "evaluate": Command(_evaluate, "loss and perplexity of a checkpoint on held-out text"),
    "generate": Command(_generate, "let a checkpoint write"),
    "checkpoint": Command(_checkpoint, "list, verify, compare and prune a run's checkpoints"),
    "goodput": Command(_goodput, "tell where the wall time of a run went"),
    "data": Command(_data, "prepare token stores and tokenizers"),
    "plan": Command(_plan, "tell what a run will need on a cluster, without it"),
    "ladder": Command(_ladder, "scaling experiments by model size"),
    "presets": Command(_presets, "list the presets with their sizes"),
    "verify-resume": Command(_verify_resume, "prove that killed runs go on bit by bit"),
    "launch": Command(_launch, "start a command as several processes"),
}


def _require_own_checkout() -> None:
    import importlib.util

    for room in exits.ROOMS:
        spec = importlib.util.find_spec(room)
        found = Path(spec.origin).resolve().parent if spec and spec.origin else None
        if found != (ours := exits.ROOT / room):
            raise UserError(
                f"package {room}={found} must be {ours}, because another package of that "
                "name hides ours; try from another directory, or without it on PYTHONPATH"
            )
