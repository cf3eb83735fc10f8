"""On the path of a campaign's jobs: fails a process from inside once its trigger file says how.

MESHLOOM_SOAK_TRIGGER names a file; when it holds this process's number and a word, the main thread
raises (`raise`) or the process ends with code 0 (`exit`).
"""

import ctypes
import os
import threading
import time


def _watch(path: str, index: str) -> None:
    while True:
        time.sleep(0.02)
        try:
            with open(path, encoding="utf-8") as file:
                found, _, word = file.read().partition(" ")
        except OSError:
            continue
        if found != index or word not in ("raise", "exit"):
            continue
        os.unlink(path)
        if word == "exit":
            os._exit(0)
        main = ctypes.c_ulong(threading.main_thread().ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(main, ctypes.py_object(RuntimeError))
        return


if "MESHLOOM_SOAK_TRIGGER" in os.environ and "JAX_PROCESS_ID" in os.environ:
    threading.Thread(
        target=_watch,
        args=(os.environ["MESHLOOM_SOAK_TRIGGER"], os.environ["JAX_PROCESS_ID"]),
        daemon=True,
    ).start()
