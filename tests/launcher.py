"""Runs manage.py commands in child processes that kill themselves, or wait, where a test says so.

    python -m tests.launcher JOB      runs one job (JSON, see `Job`) in this very process
    python -m tests.launcher          reads a job per line and answers each with a line (`Answer`)

The second loads the product once and forks per job, before any database connection is open; so
fifty kills cost a few seconds, and each child is still a process of its own that dies by a real
SIGKILL. Needs fork, so not Windows.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import patch

import django


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command on its own databases.

    `kill_at` is the number of the point before which the child kills itself: points are the
    beginning and the end of each statement and of each COMMIT on the application's database, in
    order. `hold_in` names a stage at whose beginning the child writes the file `held` and waits
    until it is gone. `reap` False leaves the dead child as a zombie.
    """

    arguments: list[str]
    database: str
    erp: str
    mapping: str
    kill_at: int | None = None
    hold_in: str = ""
    held: str = ""
    reap: bool = True


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How the child ended: its exit code, or minus the signal; what it printed; its points, each
    as "stage: what"."""

    exit_code: int
    printed: str
    points: list[str] = field(default_factory=list)


def main() -> None:
    """Runs the job of the command line, or serves until standard input ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "po_tracking.settings.development")
    django.setup()
    # Loaded here once instead of in every child.
    from apps.ingestion.management.commands import run_ingestion  # noqa: F401  # for the children
    from tests import chunks  # noqa: F401  # for the children

    if len(sys.argv) > 1:
        sys.exit(_run(Job(**json.loads(sys.argv[1])), lambda _: None))
    for line in sys.stdin:
        answer = _fork(Job(**json.loads(line)))
        sys.stdout.write(json.dumps(asdict(answer)) + "\n")
        sys.stdout.flush()


def _fork(job: Job) -> Answer:
    """Runs the job in a child and waits for its end."""
    with TemporaryFile("w+") as printed, TemporaryFile("w+", buffering=1) as points:
        pid = os.fork()
        if pid == 0:
            os.dup2(printed.fileno(), 1)
            os.dup2(printed.fileno(), 2)
            os._exit(_run(job, points.write))
        exit_code = _wait(pid, reap=job.reap)
        printed.seek(0)
        points.seek(0)
        return Answer(
            exit_code=exit_code, printed=printed.read(), points=points.read().splitlines()
        )


def _wait(pid: int, *, reap: bool) -> int:
    if not reap:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return -signal.SIGKILL
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _run(job: Job, tell: Callable[[str], object]) -> int:
    from django.conf import settings
    from django.core.management import execute_from_command_line
    from django.db import connections

    from po_tracking.databases import erp_database

    own = connections.settings["default"]
    own["NAME"] = job.database
    # A killed process loses nothing that the system has taken; only a power cut would.
    own["OPTIONS"]["init_command"] += "; PRAGMA synchronous=OFF"
    connections.settings["erp"]["NAME"] = erp_database(f"sqlite:///{job.erp}")["NAME"]
    settings.ERP_MAPPING_FILE = job.mapping
    exit_code = 0
    try:
        with _watched(job, tell):
            execute_from_command_line(["manage.py", *job.arguments])
    except SystemExit as end:
        exit_code = end.code if isinstance(end.code, int) else 1
    connections.close_all()
    sys.stdout.flush()
    return exit_code


@contextmanager
def _watched(job: Job, tell: Callable[[str], object]) -> Iterator[None]:
    """The product as it is, but for small chunks, and for the points between its statements."""
    from django.db import connections

    from apps.ingestion import pipeline
    from tests.chunks import chunks_of

    connection: Any = connections["default"]  # with the parts that are not public
    enter, commit = pipeline._Night._enter, connection._commit
    stage, count = "start", 0

    def point(what: str) -> None:
        nonlocal count
        if count == job.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1
        tell(f"{stage}: {what}\n")

    def execute(real: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        point(f"before {sql[:60]!r}")
        result = real(sql, params, many, context)
        point(f"after {sql[:60]!r}")
        return result

    def commit_watched() -> None:
        point("before COMMIT")
        commit()
        point("after COMMIT")

    def enter_watched(night: Any, name: str) -> None:
        nonlocal stage
        is_new, stage = name != stage, name
        if is_new and name == job.hold_in:
            Path(job.held).touch()
            while Path(job.held).exists():
                time.sleep(0.01)
        enter(night, name)

    with ExitStack() as stack:
        stack.enter_context(chunks_of(40))
        stack.enter_context(connection.execute_wrapper(execute))
        stack.enter_context(patch.object(connection, "_commit", commit_watched))
        stack.enter_context(patch.object(pipeline._Night, "_enter", enter_watched))
        yield


if __name__ == "__main__":
    main()
