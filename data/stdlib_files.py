"""Which files of the standard library are a corpus. Apart from the builder, as TFDS loads slowly."""

import os
import sysconfig

LEFT_OUT = {
    *("test", "tests", "idlelib", "lib-dynload", "site-packages", "dist-packages", "_bundled"),
    "__pycache__",
}


def stdlib_files() -> list[str]:
    """Paths of the sources and texts of this Python's standard library, sorted."""
    found = []
    for folder, below, names in os.walk(sysconfig.get_paths()["stdlib"]):
        below[:] = [name for name in below if name not in LEFT_OUT]
        found += [os.path.join(folder, n) for n in names if n.endswith((".py", ".txt", ".rst"))]
    return sorted(found)
