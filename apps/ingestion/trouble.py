"""Errors that no stage foresees, in words: the application's database, and faults of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import Error as AnyDatabaseError
from django.db import OperationalError

from apps.core.database_errors import LOADING_CURE, LOADING_FAILED, Codes, codes_of
from apps.ingestion.errors import Notice, RunActiveError


@dataclass(frozen=True)
class _Cause:
    """A fault of the database: how drivers tell it, and the cure."""

    codes: re.Pattern[str]  # a SQLSTATE, an error number of SQL Server, or SQLite's result name
    words: re.Pattern[str]
    cure: str

    def has_code(self, codes: Codes) -> bool:
        """Whether one of them is known to mean this."""
        told = (*codes.states, *map(str, codes.numbers), *codes.results)
        return any(self.codes.fullmatch(code) for code in told)


def _cause(codes: str, words: str, cure: str) -> _Cause:
    return _Cause(re.compile(codes), re.compile(words, re.IGNORECASE), cure)


# A busy file is SQLite's alone: "locked" is also what servers say of an account.
_LOCKED = "SQLITE_(BUSY|LOCKED).*"

# In this order: SQL Server says of a database that is not there that the login failed as well.
_CAUSES = (
    _cause("", LOADING_FAILED, LOADING_CURE),
    _cause(
        r"IM\d{3}",
        r"can't open lib|data source name not found|driver could not be loaded",
        "Install the ODBC driver for SQL Server (Microsoft ODBC Driver 18) on this machine, or set "
        "MSSQL_DRIVER=mssql-python, which brings it along.",
    ),
    _cause(
        "3D000|911|4060",
        r"cannot open database|database \"[^\"]*\" does not exist",
        "The server has no such database, or not for this login: correct the name in DATABASE_URL; "
        "a new installation makes it first (docs/operations.md, Databases and logins).",
    ),
    _cause(
        "28P01|28000|18452|18456|18470|18486|18487|18488",
        r"password authentication failed|login failed|no password supplied|"
        r"role .* does not exist|peer authentication failed|no pg_hba.conf entry",
        "Login refused: correct user and password in DATABASE_URL; ask the server's administrator "
        "whether the login is blocked or its password has expired.",
    ),
    _cause(
        "53100|1101|1105|9002|SQLITE_FULL",
        r"disk is full|no space left|could not extend",
        "The disk of the application's database is full: make room (prune_snapshots removes old "
        "snapshots), then run again.",
    ),
    _cause(
        "25006|3906|SQLITE_READONLY.*",
        r"readonly|read-only",
        "The application's database cannot be written: give the ingestion's user the right to "
        "write the file and its folder, or correct DATABASE_URL.",
    ),
    _cause(
        "SQLITE_CANTOPEN.*",
        "unable to open database file",
        "The database's file cannot be opened: check DATABASE_URL, and that the account has the "
        "right to the file and its folder.",
    ),
    _cause(
        _LOCKED,
        r"database (table )?is locked",
        "Another process has been writing the application's database for long: wait for it to end, "
        "or close it, then run again.",
    ),
    _cause(
        "42P01|42703|42S02|42S22|207|208",
        r"no such table|no such column|invalid object name|invalid column name|"
        r"(relation|column) .* does not exist",
        "The application's database is not up to date: run manage.py migrate, then run again.",
    ),
    _cause(
        "",
        "certificate",
        "Install the server's certificate authority on this machine, or ask the server's "
        "administrator for a valid certificate.",
    ),
)
# Last, because a connection that could not be made has this code whatever the reason.
_UNREACHABLE = _cause(
    r"08...|57P0[123]|HYT0[01]|-2|64|121|233|1005[34]|1006[01]|11001|200(03|06|09|17)|40613",
    r"connection refused|could not connect|could not translate host|timed out|timeout expired|"
    r"connection (is|was|has been|already) (bad|closed|lost|terminated)|closed the connection",
    "The application's database cannot be reached: check DATABASE_URL and that the server is up.",
)
_PASSING = (
    "This passes by itself, as a rule: run again. If it lasts, ask the server's administrator."
)
_UNKNOWN = "Look into ingestion.log for the details, cure the database, then run again."


def explain_unexpected(stage: str, error: Exception) -> Notice:
    """The notice of a run that ended in an error which no stage foresaw."""
    lines = str(error).strip().splitlines()
    shown = f"{type(error).__name__}: {lines[0] if lines else 'no details'}"
    if not isinstance(error, AnyDatabaseError):
        return Notice(
            stage,
            f"Unexpected error: {shown}. Nothing was applied.",
            "This is a fault in PO Tracking. Send ingestion.log to its makers; the old data stay.",
        )
    return Notice(
        stage,
        f"The application's database refused: {shown}. Nothing was applied.",
        _cure_of(error),
    )


def _cure_of(error: AnyDatabaseError) -> str:
    """Codes are certain, words are not: those decide only where no code does."""
    codes, text = codes_of(error), str(error)
    if codes.closed_for_now:
        return _PASSING
    for cause in _CAUSES:
        if cause.has_code(codes):
            return cause.cure
    is_unreachable = _UNREACHABLE.has_code(codes)
    if codes.transient and not is_unreachable:
        return _PASSING
    for cause in (*_CAUSES, _UNREACHABLE):
        if cause.words.search(text):
            return cause.cure
    return _UNREACHABLE.cure if is_unreachable else _UNKNOWN


def is_locked(error: OperationalError) -> bool:
    """Whether another process writes the SQLite file."""
    return any(re.fullmatch(_LOCKED, result) for result in codes_of(error).results)


@contextmanager
def refusing_when_locked() -> Iterator[None]:
    """SQLite lets one process write. If it is still busy after the time-out, it is a run's apply:
    nothing else writes that long."""
    try:
        yield
    except OperationalError as error:
        if not is_locked(error):
            raise
        raise RunActiveError(
            "The application's database is being written by another process.",
            "Wait for it to end, then run again; this call changed nothing.",
        ) from error
