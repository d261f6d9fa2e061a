"""Makes a backup with `manage.py backup` and removes old ones, for schedulers on any system.

    python scripts/nightly_backup.py [--to FOLDER] [--keep N]

Run it with the Python of the virtual environment. It uses the production settings unless
DJANGO_SETTINGS_MODULE names others. Old backups are removed only after a new one was made, and only
those beside it whose names differ from its name in digits alone: the date and time, by which their
age is told. Where the database server keeps the backup on its own disk, nothing is removed: that is
the server's business.
Exit codes: those of `manage.py backup`; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    options = _options()
    command = [sys.executable, str(ROOT / "manage.py"), "backup"]
    if options.to:
        command += ["--to", options.to]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={"DJANGO_SETTINGS_MODULE": "po_tracking.settings.production", **os.environ},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    print(result.stdout, end="")
    if result.returncode != 0:
        print(
            f"The backup failed with exit code {result.returncode}. No old backup was removed.",
            file=sys.stderr,
        )
        return result.returncode
    made = Path(result.stdout.strip().rpartition("\n")[2])
    for old in outdated(made, keep=options.keep):
        print(f"Removing the old backup {old}")
        if old.is_dir():
            shutil.rmtree(old)
        else:
            old.unlink()
    return 0


def outdated(made: Path, *, keep: int) -> list[Path]:
    """The backups beside the one just made that are too many, if `keep` stay, this one included."""
    if not made.exists():
        return []
    others = [
        path
        for path in made.parent.iterdir()
        if path.name != made.name and _shape(path) == _shape(made)
    ]
    return sorted(others, key=_numbers, reverse=True)[keep - 1 :]


def _shape(path: Path) -> str:
    return re.sub(r"\d+", "#", path.name)


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Makes a backup and removes old ones.")
    parser.add_argument("--to", metavar="FOLDER", help="where the backup goes")
    parser.add_argument("--keep", type=int, default=14, metavar="N", help="backups that stay (14)")
    options = parser.parse_args()
    if options.keep < 1:
        parser.error("--keep: at least the new backup must stay")
    return options


if __name__ == "__main__":
    sys.exit(main())
