"""Sets PO Tracking up in the folder .venv and starts it; needs nothing but Python.

    python3 bootstrap.py demo [options of the demo]    see it work on a simulated company
    python3 bootstrap.py test [options of pytest]      run the whole test suite

(On Windows: py bootstrap.py.) What is installed already is not installed again; an installation
that was interrupted, or made by another version of Python, is made anew. The exit code is that of
the demo or of pytest.
"""

import hashlib
import importlib.util
import subprocess
import sys
from pathlib import Path

VERSION = "{}.{}".format(*sys.version_info)
if VERSION not in {"3.11", "3.12", "3.13"}:  # before anything that an older Python cannot read
    sys.exit(
        f"PO Tracking needs Python 3.11, 3.12 or 3.13; this is Python {VERSION}. "
        "Start bootstrap.py with one of those, for example: python3.13 bootstrap.py demo "
        "(Windows: py -3.13 bootstrap.py demo)"
    )

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
# Removed before and written after each change of .venv: it proves a complete installation.
STAMP = VENV / "bootstrap.txt"


def main(arguments: list[str]) -> int:
    """Do what the command line asks for and return its exit code."""
    command, *options = arguments or ["help"]
    if command == "demo":
        install("base")
        return run("manage.py", "demo", *options)
    if command == "test":
        install("base", "development")
        if not any(option.startswith(("-n", "--numprocesses")) for option in options):
            options = ["-n", "logical", "--dist", "worksteal", *options]  # all cores
        return run("-m", "pytest", *options)
    print(__doc__)
    return 0 if command in {"help", "-h", "--help"} else 2


def install(*groups: str) -> None:
    """Bring .venv to the locked requirements of the last group, which includes the others."""
    wanted = [f"python {VERSION}"]
    wanted += [hashlib.sha256(requirements(group).read_bytes()).hexdigest() for group in groups]
    present = STAMP.read_text().splitlines() if STAMP.exists() and PYTHON.exists() else []
    if set(wanted) <= set(present):
        return
    if wanted[0] not in present:
        make_environment()
    STAMP.unlink(missing_ok=True)
    file = requirements(groups[-1]).relative_to(ROOT)
    say(f"Installing {file} into .venv (once; how long depends on the network)")
    quietly(
        "pip could not install the requirements. Does this machine reach the package index? Behind "
        "a proxy set HTTPS_PROXY. Then start the same command again.",
        *(PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
        *("--require-hashes", "-r", file),
    )
    STAMP.write_text("\n".join(wanted))


def requirements(group: str) -> Path:
    return ROOT / "requirements" / f"{group}.txt"


def make_environment() -> None:
    """Make .venv from nothing, whatever is there; say what to install if Python is incomplete."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit(
            f"This Python comes without venv. On Debian and Ubuntu, as root: apt-get install "
            f"python{VERSION}-venv. Elsewhere install Python from python.org. Then start the same "
            f"command again."
        )
    say(f"Making .venv with Python {VERSION}")
    quietly(
        "Python could not make .venv. Delete the folder .venv, see that this folder may be written "
        "to, and start the same command again.",
        *(sys.executable, "-m", "venv", "--clear", VENV),
    )


def quietly(remedy: str, *command: "str | Path") -> None:
    """Run a command of the installation; show what it says, and the remedy, only if it fails."""
    result = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode:
        sys.exit(f"{result.stdout}\n{remedy}")


def run(*arguments: str) -> int:
    """Run the Python of .venv to its end, through Ctrl+C, which reaches it as well."""
    with subprocess.Popen([PYTHON, *arguments], cwd=ROOT) as process:
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:
                continue
            return code if code >= 0 else 128 - code  # ended by a signal: as a shell says it


def say(text: str) -> None:
    print(f"bootstrap: {text} ...", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
