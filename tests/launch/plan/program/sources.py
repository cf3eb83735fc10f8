"""The tables of HLO text that say which lines of source asked for its instructions."""


def sources(*lines: int) -> str:
    """Tables whose stack frames, numbered from 1, are these lines of a file of ours."""
    locations = (
        f"{n} {{file_name_id=1 function_name_id=1 line={line}}}" for n, line in enumerate(lines, 1)
    )
    frames = (f"{n} {{file_location_id={n} parent_frame_id=1}}" for n in range(1, len(lines) + 1))
    tables = ("FileNames", '1 "/x/model/mlp.py"', "FileLocations", *locations, "StackFrames")
    return "\n".join([*tables, *frames])
