"""What the ingestion's commands share: the console, who acts, and errors in words."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from django.core.management.base import BaseCommand
from django.db import Error as AnyDatabaseError
from rich.console import Console

from apps.audit.services import Actor
from apps.core.redaction import first_line
from apps.ingestion.errors import IngestionError, RunActiveError, UsageError
from apps.ingestion.trouble import explain_unexpected, refusing_when_locked

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_ACTIVE = 4
# What goes into a file or an e-mail is not bound to a terminal's 80 columns.
_WIDTH_OFF_TERMINAL = 120


def console_of(command: BaseCommand) -> Console:
    """The console of the command's output; it prints texts as they are, without reading markup."""
    stream: Any = command.stdout._out  # noqa: SLF001  # Django's wrapper adds line ends
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDTH_OFF_TERMINAL
    return console


def actor() -> Actor:
    """The person at the command line, by the name of the system's account."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = "unknown"  # an account without a name, as in some containers
    return Actor(name=name[:150], source="command")


@contextmanager
def told(command: BaseCommand, *, as_json: bool) -> Iterator[None]:
    """Ends the command with a message and an exit code instead of a traceback."""
    try:
        with refusing_when_locked():
            yield
    except UsageError as error:
        _end(command, error, EXIT_USAGE, as_json=as_json)
    except RunActiveError as error:
        _end(command, error, EXIT_ACTIVE, as_json=as_json)
    except IngestionError as error:
        _end(command, error, EXIT_FAILED, as_json=as_json)
    except AnyDatabaseError as error:  # a missing driver or a refused login is no DatabaseError
        explained = IngestionError(
            f"The application's database refused: {first_line(error)}",
            explain_unexpected("application", error).remedy,
        )
        _end(command, explained, EXIT_FAILED, as_json=as_json)


def _end(command: BaseCommand, error: IngestionError, code: int, *, as_json: bool) -> NoReturn:
    if as_json:
        status = {EXIT_USAGE: "usage", EXIT_ACTIVE: "active"}.get(code, "failed")
        answer = {"status": status, "error": f"{error.message} {error.remedy}"}
        command.stdout.write(json.dumps(answer, ensure_ascii=False))
    else:
        command.stderr.write(f"{error.message}\n{error.remedy}")
    sys.exit(code)
