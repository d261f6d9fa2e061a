"""Runs backup and restore in children that kill themselves where a test says so.

    python -m apps.operations.tests.killed JOBS

JOBS is a JSON list of jobs: the arguments of manage.py, the SQLite file that is the application's
database, and the number of the point at which the child dies (null: it lives, and writes its points
to the database's name with `.points`). A point is the beginning or the end of a function in
apps/operations/backups. A copy calls one after each of its steps, so it is killed in its midst too.
Prints a list of the exit codes, minus the signal where one ended it. Needs fork, so not Windows.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import django

# Small, so that a copy has many steps and begins to write long before it commits.
PAGES_A_STEP = 20


def main() -> None:
    """Loads the product once and forks for each job, before any connection is open."""
    django.setup()
    codes = []
    for job in json.loads(sys.argv[1]):
        pid = os.fork()
        if pid == 0:
            os._exit(_run(*job))
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.stdout.write(json.dumps(codes))


def _run(arguments: list[str], database: str, kill_at: int | None) -> int:
    from django.core.management import execute_from_command_line
    from django.db import connections

    from apps.operations import backups
    from apps.operations.backups import sqlite

    sqlite._PAGES_A_STEP = PAGES_A_STEP
    connections.settings["default"]["NAME"] = database
    package = str(Path(backups.__file__).parent)
    points: list[str] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event not in ("call", "return") or not frame.f_code.co_filename.startswith(package):
            return
        if len(points) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        points.append(f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name} {event}")

    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.setprofile(watch)
    try:
        execute_from_command_line(["manage.py", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.setprofile(None)
    Path(f"{database}.points").write_text("\n".join(points), encoding="utf-8")
    return 0


if __name__ == "__main__":
    main()
