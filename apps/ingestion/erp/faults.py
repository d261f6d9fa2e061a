"""Tells what a database error of the ERP means: worth another attempt or not, and the cure.

The codes are those of apps/core/database_errors.py; where a driver gives none, its words decide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from apps.core.database_errors import LOADING_CURE, LOADING_FAILED, codes_of
from apps.ingestion.errors import ErpError, TransientErpError

# A fault that passes, told in words alone: link lost, server starting or stopping, deadlock.
_TRANSIENT_WORDS = re.compile(
    r"database is locked|connection refused|connection reset|closed the connection|"
    r"connection timed? ?out|timeout expired|could not connect|network|deadlock|"
    r"communication link failure|is starting up|is shutting down|in recovery mode|"
    r"too many clients|connection slots are reserved|could not translate host name|"
    r"connection (is|was|has been) (closed|lost|terminated)|connection already closed|"
    r"SSL SYSCALL|unexpected eof|EOF detected|forcibly closed",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Cure:
    """A fault that stays until somebody mends it: how drivers tell it, and the remedy."""

    states: frozenset[str]
    numbers: frozenset[int]
    words: re.Pattern[str]
    remedy: str


def _cure(states: str, numbers: set[int], words: str, remedy: str) -> _Cure:
    return _Cure(
        frozenset(states.split()), frozenset(numbers), re.compile(words, re.IGNORECASE), remedy
    )


_CURES = (
    _cure(
        "3D000",
        {911, 4060},
        r"unable to open database file|cannot open database|database .* does not exist",
        "Correct the database name in ERP_DATABASE_URL; for an SQLite file, check that it exists "
        "and that the ingestion's user may read it.",
    ),
    _cure(
        "28P01 28000",
        {18456},
        r"password authentication failed|login failed|no password supplied|"
        r"role .* does not exist|peer authentication failed|no pg_hba.conf entry",
        "Correct user and password in ERP_DATABASE_URL; ask the ERP's administrator whether the "
        "login is locked or expired.",
    ),
    _cure(
        "42P01 42S02",
        {208},
        r"no such table|invalid object name|relation .* does not exist",
        "Correct the table in the mapping file, or let the ERP's administrator grant the login the "
        "right to see it; then run check_erp.",
    ),
    _cure(
        "42703 42S22",
        {207},
        r"no such column|invalid column name|column .* does not exist",
        "A column was renamed or removed in the ERP: correct the mapping file and run check_erp.",
    ),
    _cure(
        "42501",
        {229, 230, 916},
        r"permission denied|permission was denied",
        "Let the ERP's administrator grant the login SELECT on the mapped tables.",
    ),
    _cure(
        "",
        {3952},
        r"snapshot isolation is not allowed in this database",
        "A view or synonym of the mapping reads one more database. Let the ERP's administrator "
        "switch ALLOW_SNAPSHOT_ISOLATION on there too: ALTER DATABASE name SET "
        "ALLOW_SNAPSHOT_ISOLATION ON.",
    ),
    _cure(
        "IM002 IM003",
        set(),
        r"can't open lib|data source name not found|driver could not be loaded",
        "Install the ODBC driver for SQL Server (Microsoft ODBC Driver 18), or set "
        "MSSQL_DRIVER=mssql-python, which brings it along.",
    ),
    _cure("", set(), LOADING_FAILED, LOADING_CURE),
    _cure(
        "22007 22008 22021",
        set(),
        r"could not decode|can't decode|timestamp too (large|small)|date too (large|small)",
        "A value in the ERP cannot be read by the database driver at all. Map a view that turns "
        "the column into text, or correct the value.",
    ),
    _cure(
        "",
        set(),
        r"certificate",
        "Install the server's certificate authority on this machine, or ask the ERP's "
        "administrator for a valid certificate.",
    ),
)
_TRANSIENT_CURE = (
    "Check that the ERP's server is up and reachable from this machine; the next run tries again."
)
_UNKNOWN_CURE = "Run check_erp for details; if it does not help, ask the ERP's administrator."


def explain(error: Exception) -> ErpError:
    """The error in words, as TransientErpError where another attempt may help."""
    codes = codes_of(error)
    text = str(error)
    message = f"The ERP could not be read: {_first_line(error)}"
    if codes.closed_for_now:
        return TransientErpError(message, _TRANSIENT_CURE)
    # Codes are certain, words are not: those decide only where no code does.
    by_code = [c for c in _CURES if c.states & codes.states or c.numbers & codes.numbers]
    if by_code:
        return ErpError(message, by_code[0].remedy)
    by_words = [cure for cure in _CURES if cure.words.search(text)]
    # Without a code a connection that was never made says so in words only, wrong password or not.
    if by_words and (not codes.transient or codes.states <= {"08001", "08006", "08S01"}):
        return ErpError(message, by_words[0].remedy)
    if codes.transient or _TRANSIENT_WORDS.search(text):
        return TransientErpError(message, _TRANSIENT_CURE)
    return ErpError(message, _UNKNOWN_CURE)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
