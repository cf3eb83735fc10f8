"""Lines of a file, plain or compressed, or of a range of it."""

from collections.abc import Iterator

from data.sources.compressed import chunks


def lines(file: str, start: int, stop: int) -> Iterator[tuple[bytes, int]]:
    """Lines that begin from start to before stop, with their offsets; each byte is copied as often
    for a long line as for a short one, and of a line that began before start none is kept."""
    begin = place = max(start - 1, 0)
    parts: list[bytes] | None = None if start else []
    for chunk in chunks(file, place):
        first, *more = chunk.split(b"\n")
        if parts is not None:
            parts.append(first)
        if more:
            if parts is not None:
                yield b"".join(parts), begin
            begin = place + len(first) + 1
            for line in more[:-1]:
                if begin >= stop:
                    return
                yield line, begin
                begin += len(line) + 1
            parts = [more[-1]]
        place += len(chunk)
        if (begin if parts is not None else place) >= stop:
            return
    if parts and any(parts):
        yield b"".join(parts), begin
