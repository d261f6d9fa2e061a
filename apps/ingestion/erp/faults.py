"""Tells what a database error of the ERP means: worth another attempt or not, and the cure.

The codes are the vendors': SQLSTATE classes of the SQL standard and ODBC ("ODBC Error Codes"),
PostgreSQL appendix A, SQL Server "Database Engine events and errors" with the list of transient
errors of Azure SQL, SQLite "Result Codes".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from apps.ingestion.errors import ErpError, TransientErpError

# Link lost, server starting or stopping, deadlock, lock time-out, too many connections.
_TRANSIENT_STATES = re.compile(r"08...|40001|40P01|55P03|53300|57P0[123]|HYT0[01]")
_TRANSIENT_NUMBERS = frozenset(
    {
        -2, 20, 64, 121, 233, 1204, 1205, 1222, 3960, 10053, 10054, 10060, 10061, 10928, 10929,
        11001, 3953, 3961, 40143, 40197, 40501, 40540, 40613, 42108, 42109, 49918, 49919, 49920,
    }
)  # fmt: skip
_TRANSIENT_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_IOERR")
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
        {4060},
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
        "IM002",
        set(),
        r"can't open lib|data source name not found",
        "Install the ODBC driver that ERP_DATABASE_URL names (Microsoft ODBC Driver 18).",
    ),
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
    states, numbers, names = codes_of(error)
    text = str(error)
    message = f"The ERP could not be read: {_first_line(error)}"
    # Codes are certain, words are not: those decide only where no code does.
    by_code = [c for c in _CURES if c.states & states or c.numbers & numbers]
    if by_code:
        return ErpError(message, by_code[0].remedy)
    transient = (
        any(_TRANSIENT_STATES.fullmatch(state) for state in states)
        or not _TRANSIENT_NUMBERS.isdisjoint(numbers)
        or any(name.startswith(_TRANSIENT_SQLITE) for name in names)
    )
    by_words = [cure for cure in _CURES if cure.words.search(text)]
    # Without a code a connection that was never made says so in words only, wrong password or not.
    if by_words and (not transient or states <= {"08001", "08006", "08S01"}):
        return ErpError(message, by_words[0].remedy)
    if transient or _TRANSIENT_WORDS.search(text):
        return TransientErpError(message, _TRANSIENT_CURE)
    return ErpError(message, _UNKNOWN_CURE)


def codes_of(error: BaseException) -> tuple[set[str], set[int], set[str]]:
    """SQLSTATEs, SQL Server error numbers and SQLite result names of the error and its causes."""
    states: set[str] = set()
    numbers: set[int] = set()
    names: set[str] = set()
    current: BaseException | None = error
    while current is not None:
        state = getattr(current, "sqlstate", None)
        if isinstance(state, str):
            states.add(state)
        name = getattr(current, "sqlite_errorname", None)
        if isinstance(name, str):
            names.add(name)
        for argument in current.args:
            if isinstance(argument, str):
                # pyodbc: ("08S01", "[08S01] [Microsoft]... (10054) (SQLExecDirectW)")
                if re.fullmatch(r"[0-9A-Z]{5}", argument):
                    states.add(argument)
                told = re.findall(r"\((-?\d{1,5})\)(?= *\(SQL|;|\s*$)", argument)
                told += re.findall(r"\b(?:Error|Msg|error number):? (\d{1,5})\b", argument)
                numbers.update(int(number) for number in told)
            elif isinstance(argument, int):
                numbers.add(argument)
        current = current.__cause__
    return states, numbers, names


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
