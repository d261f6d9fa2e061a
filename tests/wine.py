"""A Windows that Wine plays, on which the scripts of scripts/ run with fakes beside them.

A plugin of pytest (conftest.py), so that all tests of a session share one Windows: making it takes
seconds, running a script in it a fraction of one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


def windows_lines(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode("ascii")


class Wine:
    """An installation in a folder with blanks and brackets in its name."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        (folder / ".venv" / "Scripts").mkdir(parents=True)
        self.write("manage.py", "")
        self.write(".venv/Scripts/activate.bat", '@set "PATH=%~dp0;%PATH%"\n')

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(windows_lines(text))
        return path

    def python_prints(self, text: str) -> None:
        self.write(".venv/Scripts/python.bat", f"@echo {text}\n")

    def python_exits(self, code: int) -> str:
        """Make python.exe a command interpreter; what to type so that it ends with the code."""
        shell = Path(self.environment["WINEPREFIX"]) / "drive_c/windows/system32/cmd.exe"
        shutil.copy(shell, self.folder / ".venv" / "Scripts" / "python.exe")
        return f"exit {code}\r\n"

    def run(
        self, script: str, *arguments: str, typed: str = "", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["wine", self.folder / script, *arguments],
            cwd=self.environment["WINEPREFIX"],
            env={**self.environment, **extra},
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def _start(*command: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["wine", *command],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def wine_environment() -> Iterator[dict[str, str]]:
    if shutil.which("wine") is None:
        pytest.skip("needs Wine (Debian: wine, wine64), which plays Windows")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("DJANGO")
    }
    with tempfile.TemporaryDirectory(prefix="po_tracking_wine_") as prefix:
        environment |= {
            "WINEPREFIX": prefix,
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",
        }
        _start("wineboot", "--init", environment=environment).communicate()
        # While one console stays open, Wine's helpers stay too. Else each test would start them,
        # and wait until they go.
        console = _start("cmd", environment=environment)
        yield environment
        subprocess.run(["wineserver", "-k", "-w"], env=environment, check=True)
        console.communicate()


@pytest.fixture
def wine(wine_environment: dict[str, str], tmp_path: Path) -> Wine:
    return Wine(tmp_path / "PO Tracking (new)", wine_environment)
