"""Wall seconds and peak resident memory of a whole child process, from start to end."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil


@dataclass(frozen=True)
class Measured:
    """One process: its exit code, seconds, peak in bytes, and what it wrote."""

    returncode: int
    seconds: float
    peak_bytes: int
    stdout: str
    stderr: str


if sys.platform == "win32":

    def _watch(process: subprocess.Popen[bytes]) -> tuple[int, int]:
        """Waits for the process; gives its exit code and its peak.

        Windows keeps each process' peak by itself; it only has to be read in time. A virtual
        environment's python.exe starts the real one as its child, so both count.
        """
        peaks: dict[int, int] = {}
        while process.poll() is None:
            try:
                parent = psutil.Process(process.pid)
                for each in (parent, *parent.children(recursive=True)):
                    peaks[each.pid] = each.memory_info().peak_wset
            except psutil.NoSuchProcess:
                continue  # ended between two questions
            time.sleep(0.01)
        return process.returncode, sum(peaks.values())


def measure(command: list[str], *, cwd: Path, env: dict[str, str]) -> Measured:
    """Runs the command to its end. Its program must be given with its full path."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "stdout"), Path(folder, "stderr")
        with out.open("wb") as stdout, err.open("wb") as stderr:
            if sys.platform == "win32":
                started = time.perf_counter()
                process = subprocess.Popen(command, cwd=cwd, env=env, stdout=stdout, stderr=stderr)
                returncode, peak = _watch(process)
                seconds = time.perf_counter() - started
            else:
                result = Path(folder, "result")
                launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))]
                subprocess.run(
                    [*launcher, str(result), *command],
                    cwd=cwd, env=env, stdout=stdout, stderr=stderr, check=True,
                )  # fmt: skip
                code, wall, size = result.read_text(encoding="ascii").split()
                returncode, seconds, peak = int(code), float(wall), int(size)
        return Measured(
            returncode,
            seconds,
            peak,
            out.read_text(encoding="utf-8", errors="replace"),
            err.read_text(encoding="utf-8", errors="replace"),
        )
