"""Runs a command and writes its exit status, wall seconds and peak resident memory to a file.

`python -I -S launch.py RESULT_FILE PROGRAM [ARGUMENT ...]`, on Linux and macOS. A process of its
own because a child's peak begins with the memory of the process that started it: this one imports
next to nothing, so that it stays below any Python process it measures.
"""

import os
import sys
import time

if __name__ == "__main__" and sys.platform != "win32":
    result_file, *command = sys.argv[1:]
    started = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    # Kilobytes, but on macOS bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with open(result_file, "w", encoding="ascii") as result:  # noqa: PTH123  # pathlib costs memory
        result.write(f"{os.waitstatus_to_exitcode(status)} {seconds} {peak}")
