"""On the path of a campaign's jobs: fails a process from inside once its trigger file says how.

MESHLOOM_SOAK_TRIGGER names a file; when it holds this process's number and a word, the main thread
raises (`raise`) or the process ends with code 0 (`exit`). MESHLOOM_SOAK_READER names a file that
is told the number of the thread which reads data.
"""

import ctypes
import os
import sys
import threading
import time
import types


def _watch(path: str, index: str) -> None:
    while True:
        time.sleep(0.02)
        try:
            with open(path, encoding="utf-8") as file:
                number, _, word = file.read().partition(" ")
        except OSError:
            continue
        if number != index or word not in ("raise", "exit"):
            continue
        os.unlink(path)
        if word == "exit":
            os._exit(0)
        main = threading.main_thread().ident or 0
        # Again if it was swallowed: JAX makes a warning of any that comes in its compilation cache.
        while not _passes(sys._current_frames()[main], "launch/process/exits.py", "fail"):
            error = ctypes.py_object(RuntimeError)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(main), error)
            time.sleep(1)
        return


def _write_reader(path: str) -> None:
    while True:
        time.sleep(0.02)
        frames = sys._current_frames()
        for thread in threading.enumerate():
            if thread.ident in frames and _passes(frames[thread.ident], "train/feed.py", "_run"):
                with open(path + ".new", "w", encoding="utf-8") as file:
                    file.write(str(thread.native_id))
                os.replace(path + ".new", path)
                return


def _passes(frame: types.FrameType | None, file: str, function: str = "") -> bool:
    """Whether the frame or one that called it runs code of that file, of that function if given."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.endswith(file) and function in ("", code.co_name):
            return True
        frame = frame.f_back
    return False


if "MESHLOOM_SOAK_READER" in os.environ:
    threading.Thread(
        target=_write_reader, args=(os.environ["MESHLOOM_SOAK_READER"],), daemon=True
    ).start()
if "MESHLOOM_SOAK_TRIGGER" in os.environ and "JAX_PROCESS_ID" in os.environ:
    threading.Thread(
        target=_watch,
        args=(os.environ["MESHLOOM_SOAK_TRIGGER"], os.environ["JAX_PROCESS_ID"]),
        daemon=True,
    ).start()
