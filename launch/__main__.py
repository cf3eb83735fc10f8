"""`python -m launch` is the command `meshloom`."""

from launch.cli import program

if __name__ == "__main__":
    program()
