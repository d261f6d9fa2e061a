"""Tells what a database error of the ERP means: worth another attempt or not, and the cure.

The codes are the vendors': SQLSTATE classes of the SQL standard and ODBC ("ODBC Error Codes"),
PostgreSQL appendix A, SQL Server "Database Engine events and errors" with the list of transient
errors of Azure SQL, SQLite "Result Codes".
"""

from __future__ import annotations

import re

from apps.ingestion.errors import ErpError, TransientErpError

# Link lost, server starting or stopping, deadlock, lock time-out, too many connections.
_TRANSIENT_STATES = re.compile(r"08...|40001|40P01|55P03|53300|57P0[123]|HYT0[01]")
_TRANSIENT_NUMBERS = frozenset(
    {
        -2, 20, 64, 121, 233, 1204, 1205, 1222, 3960, 10053, 10054, 10060, 10061, 10928, 10929,
        11001, 40143, 40197, 40501, 40540, 40613, 42108, 42109, 49918, 49919, 49920,
    }
)  # fmt: skip
_TRANSIENT_SQLITE = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL", "SQLITE_IOERR"})
_TRANSIENT_WORDS = re.compile(
    r"database is locked|connection refused|connection reset|server closed the connection|"
    r"connection timed? ?out|timeout expired|could not connect|network|deadlock|"
    r"communication link failure|is starting up|could not translate host name|"
    r"the connection is closed|connection is lost|connection already closed",
    re.IGNORECASE,
)
# (state or number or words) -> remedy. The first that fits.
_CURES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"28P01|28000|\b18456\b|password authentication failed|login failed", re.I),
        "Correct user and password in ERP_DATABASE_URL; ask the ERP's administrator whether the "
        "login is locked or expired.",
    ),
    (
        re.compile(r"42P01|42S02|\b208\b|no such table|invalid object name", re.I),
        "Correct the table in the mapping file, or let the ERP's administrator grant the login the "
        "right to see it; then run check_erp.",
    ),
    (
        re.compile(r"42703|42S22|\b207\b|no such column|invalid column name", re.I),
        "A column was renamed or removed in the ERP: correct the mapping file and run check_erp.",
    ),
    (
        re.compile(r"42501|\b229\b|\b230\b|\b916\b|permission", re.I),
        "Let the ERP's administrator grant the login SELECT on the mapped tables.",
    ),
    (
        re.compile(r"3D000|\b4060\b|unable to open database file|does not exist", re.I),
        "Correct the database name in ERP_DATABASE_URL; for an SQLite file, check that it exists "
        "and that the ingestion's user may read it.",
    ),
    (
        re.compile(r"IM002|can't open lib|data source name not found", re.I),
        "Install the ODBC driver that ERP_DATABASE_URL names (Microsoft ODBC Driver 18).",
    ),
    (
        re.compile(r"certificate|\bSSL\b", re.I),
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
    states, numbers, names = _codes(error)
    message = f"The ERP could not be read: {_first_line(error)}"
    known = " ".join([*states, *map(str, numbers), str(error)])
    cure = next((cure for pattern, cure in _CURES if pattern.search(known)), None)
    coded_transient = (
        any(_TRANSIENT_STATES.fullmatch(state) for state in states)
        or not _TRANSIENT_NUMBERS.isdisjoint(numbers)
        or any(name.startswith(tuple(_TRANSIENT_SQLITE)) for name in names)
    )
    # Words decide only where neither a code nor a cure does: drivers without SQLSTATEs.
    if cure is None and (coded_transient or _TRANSIENT_WORDS.search(str(error))):
        return TransientErpError(message, _TRANSIENT_CURE)
    return ErpError(message, cure or _UNKNOWN_CURE)


def _codes(error: BaseException) -> tuple[list[str], list[int], list[str]]:
    """SQLSTATEs, SQL Server error numbers and SQLite result names of the error and its causes."""
    states, numbers, names = [], [], []
    current: BaseException | None = error
    while current is not None:
        state = getattr(current, "sqlstate", None)
        if isinstance(state, str):
            states.append(state)
        name = getattr(current, "sqlite_errorname", None)
        if isinstance(name, str):
            names.append(name)
        for argument in current.args:
            if isinstance(argument, str):
                # pyodbc: ("08S01", "[08S01] [Microsoft]... (10054) ...")
                if re.fullmatch(r"[0-9A-Z]{5}", argument):
                    states.append(argument)
                numbers += [int(number) for number in re.findall(r"\((-?\d{1,5})\)", argument)]
            elif isinstance(argument, int):
                numbers.append(argument)
        current = current.__cause__
    return states, numbers, names


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
