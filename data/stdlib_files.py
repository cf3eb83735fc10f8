"""Which files of the standard library are a corpus: not its tests, not IDLE, nothing installed.

Apart from the builder, because TFDS is slow to import.
"""

import os
import sysconfig

LEFT_OUT = {
    *("test", "tests", "idlelib", "lib-dynload", "site-packages", "dist-packages", "_bundled"),
    "__pycache__",
}


def stdlib_root() -> str:
    """The folder of this Python's standard library."""
    return sysconfig.get_paths()["stdlib"]


def stdlib_files() -> list[str]:
    """Paths of its sources and texts, sorted."""
    found = []
    for folder, below, names in os.walk(stdlib_root()):
        below[:] = [name for name in below if name not in LEFT_OUT]
        found += [os.path.join(folder, n) for n in names if n.endswith((".py", ".txt", ".rst"))]
    return sorted(found)


def stdlib_names() -> list[str]:
    """The same below the library's folder."""
    return [os.path.relpath(file, stdlib_root()) for file in stdlib_files()]
