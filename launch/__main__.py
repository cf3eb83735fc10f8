"""`python -m launch` is the command `meshloom`."""

import sys

from launch.cli import main

if __name__ == "__main__":
    sys.exit(main())
