"""The command `meshloom train`."""

from launch import exit_codes
from launch.run.arguments import train_options


def main(arguments: list[str]) -> int:
    """Train as the arguments say; the exit code says whether the run came to its end."""
    options = train_options(arguments)
    from launch.run.train import train

    trained = train(
        options.run,
        run_dir=options.run_dir,
        resume=options.resume,
        resume_or_start=options.resume_or_start,
        overwrite=options.overwrite,
    )
    return exit_codes.DONE if trained.finished else exit_codes.STOPPED
