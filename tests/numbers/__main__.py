"""Show that a change which should change no number changes none: run on two commits, then compare.

    python -m tests.numbers write FILE --checkout DIR
    python -m tests.numbers compare OLD NEW

Both files are to be written on one machine, as processors differ in the last bits of a loss.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.command import ROOT
from tests.numbers.collect import collect
from tests.numbers.comparison import differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("write", help="collect the numbers of a checkout into a file")
    write.add_argument("file", type=Path)
    write.add_argument("--checkout", type=Path, default=ROOT)
    compare = commands.add_parser("compare", help="print what differs; exit code 1 if anything")
    compare.add_argument("old", type=Path)
    compare.add_argument("new", type=Path)
    options = parser.parse_args()
    if options.command == "write":
        values = collect(options.checkout.resolve())
        options.file.write_text(json.dumps(values, indent=1, sort_keys=True) + "\n")
        print(f"{len(values):,} values in {options.file}")
        return 0
    lines, equal = differences(
        *(json.loads(path.read_text()) for path in (options.old, options.new))
    )
    print("\n".join([*lines, f"{equal:,} values equal, {len(lines):,} differ"]))
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
