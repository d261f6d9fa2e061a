"""What database drivers say when something goes wrong, and which faults pass by themselves.

Each driver tells it differently: psycopg has an SQLSTATE on the error; pyodbc has an SQLSTATE as
first argument and the server's error number in its text; mssql-python has neither, but a fixed
phrase per SQLSTATE; sqlite3 has the name of SQLite's result code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# (code, what it says). Sources: ODBC, "Appendix A: ODBC error codes"; PostgreSQL, "Appendix A.
# Error Codes"; SQL Server, "Database Engine events and errors"; Azure SQL, "Troubleshoot transient
# connection errors"; Windows Sockets error codes, which SQL Server's drivers hand on; SQLite,
# "Result and Error Codes". A SQLSTATE that ends in "..." stands for its class.
#
# Not among them, because somebody has to act first: 17142, an administrator has paused the server
# (MSSQLSERVER_17142); 978, the replica takes only connections with the intent to read.
TRANSIENT: tuple[tuple[str | int, str], ...] = (
    ("08...", "ODBC, PostgreSQL: the connection could not be made, or was lost"),
    ("40001", "ODBC, PostgreSQL, SQL Server: serialization failure, deadlock victim"),
    ("40003", "ODBC: whether the statement was completed is unknown"),
    ("40P01", "PostgreSQL: deadlock detected"),
    ("53300", "PostgreSQL: too many connections"),
    ("55P03", "PostgreSQL: lock not available"),
    ("57P01", "PostgreSQL: the administrator shuts the server down"),
    ("57P02", "PostgreSQL: the server crashed"),
    ("57P03", "PostgreSQL: the server is starting up"),
    ("HYT00", "ODBC: time-out expired"),
    ("HYT01", "ODBC: connection time-out expired"),
    (-2, "SQL Server: time-out expired, or the server does not respond"),
    (20, "SQL Server: the instance does not support encryption, seen while it starts"),
    (64, "Windows: the network name is no longer available"),
    (121, "Windows: the semaphore time-out has expired"),
    (233, "SQL Server: no process is on the other end of the pipe"),
    (596, "SQL Server: the session was ended, as by a failover or a restore"),
    (921, "SQL Server: the database has not been recovered yet"),
    (922, "SQL Server: the database is being recovered"),
    (927, "SQL Server: the database is in the middle of a restore"),
    (976, "SQL Server: the replica cannot be queried now, as while it is not connected"),
    (983, "SQL Server: the replica is neither primary nor secondary now, as during a failover"),
    (1204, "SQL Server: no locks are left"),
    (1205, "SQL Server: deadlock victim"),
    (1222, "SQL Server: lock request time-out"),
    (3953, "SQL Server: the database is being recovered, no snapshot yet"),
    (3960, "SQL Server: snapshot transaction aborted by an update conflict"),
    (3961, "SQL Server: snapshot transaction failed, the table is being altered"),
    (4221, "Azure SQL, SQL Server: the secondary replica still lacks row versions"),
    (6005, "SQL Server: it is shutting down"),
    (10053, "Windows Sockets: the connection was aborted by this machine"),
    (10054, "Windows Sockets: the connection was reset by the server"),
    (10060, "Windows Sockets: the server did not answer in time"),
    (10061, "Windows Sockets: the server refused the connection"),
    (10928, "Azure SQL: the limit of workers is reached"),
    (10929, "Azure SQL: the server is too busy"),
    (11001, "Windows Sockets: the host is not known"),
    (18401, "SQL Server: it upgrades its own scripts and lets only administrators in"),
    (20003, "FreeTDS: the connection timed out"),
    (20006, "FreeTDS: writing to the server failed"),
    (20009, "FreeTDS: the server is unavailable or does not exist"),
    (20017, "FreeTDS: the server closed the connection"),
    (40143, "Azure SQL: the service has a fault while processing the request"),
    (40197, "Azure SQL: the service has a fault, as after an upgrade"),
    (40501, "Azure SQL: the service is busy"),
    (40540, "Azure SQL: the service has a fault, retry"),
    (40613, "Azure SQL: the database is not available now"),
    (42108, "Azure SQL: the pool is paused"),
    (42109, "Azure SQL: the pool is warming up"),
    (49918, "Azure SQL: not enough resources for the request"),
    (49919, "Azure SQL: too many create or update operations"),
    (49920, "Azure SQL: too many operations"),
    ("SQLITE_BUSY", "SQLite: another process has locked the file"),
    ("SQLITE_LOCKED", "SQLite: another connection has locked the table"),
    ("SQLITE_PROTOCOL", "SQLite: the locks of the write-ahead log could not be had"),
    ("SQLITE_IOERR", "SQLite: the disk, often of another machine, did not answer"),
)
# How mssql-python needs to be helped where Microsoft's driver, which it brings along, cannot load.
LOADING_FAILED = r"failed to load the driver"
LOADING_CURE = (
    "The driver that mssql-python brings along needs two libraries of the system. On Debian and "
    "Ubuntu, as root: apt-get install libodbc2 libltdl7"
)

# The database takes nobody in for the moment. The server says that the login failed as well.
_CLOSED = frozenset({921, 922, 927, 976, 983, 4221, 18401})
# The engine ended our transaction in favour of another one; PostgreSQL and SQL Server.
_CONFLICTS = frozenset({"40001", "40P01", 1205, 3960})

# mssql-python's phrases (its exceptions.py, sqlstate_to_exception) for the SQLSTATEs that matter.
_PHRASES = {
    "Client unable to establish connection": "08001",
    "Connection not open": "08003",
    "Server rejected the connection": "08004",
    "Connection failure during transaction": "08007",
    "Communication link failure": "08S01",
    "Invalid datetime format": "22007",
    "Datetime field overflow": "22008",
    "Invalid authorization specification": "28000",
    "Invalid catalog name": "3D000",
    "Serialization failure": "40001",
    "Statement completion unknown": "40003",
    "Base table or view not found": "42S02",
    "Column not found": "42S22",
    "Timeout expired": "HYT00",
    "Connection timeout expired": "HYT01",
    "Data source name not found and no default driver specified": "IM002",
    "Specified driver could not be loaded": "IM003",
}
_PHRASE = re.compile(r"Driver Error: ([^;]+)")
# The one number that mssql-python's errors need, because the SQLSTATE says no more than that the
# login failed: the database is not there.
_DATABASE_MISSING = re.compile(r'Cannot open database "')
_SQLSTATE = re.compile(r"[0-9A-Z]{5}")
# pyodbc: "[08S01] [Microsoft]... (10054) (SQLExecDirectW)"; also what stands in messages of jobs.
_NUMBERS = (
    re.compile(r"\((-?\d{1,5})\)(?= *\(SQL|;|\s*$)"),
    re.compile(r"\b(?:Error|Msg|error number):? (\d{1,5})\b"),
)

_TRANSIENT_STATES = re.compile(
    "|".join(str(code) for code, _ in TRANSIENT if _SQLSTATE.fullmatch(str(code).replace(".", "0")))
)
_TRANSIENT_NUMBERS = frozenset(code for code, _ in TRANSIENT if isinstance(code, int))
_TRANSIENT_RESULTS = tuple(str(code) for code, _ in TRANSIENT if str(code).startswith("SQLITE_"))


@dataclass(frozen=True)
class Codes:
    """What an error and its causes carry."""

    states: frozenset[str]  # SQLSTATEs
    numbers: frozenset[int]  # SQL Server's error numbers
    results: frozenset[str]  # SQLite's result codes, by name

    @property
    def transient(self) -> bool:
        """Whether one of them is of a fault that passes by itself."""
        return (
            any(_TRANSIENT_STATES.fullmatch(state) for state in self.states)
            or not _TRANSIENT_NUMBERS.isdisjoint(self.numbers)
            or any(result.startswith(_TRANSIENT_RESULTS) for result in self.results)
        )

    @property
    def closed_for_now(self) -> bool:
        """Whether the database takes nobody in for the moment, whatever else is said of a login."""
        return not _CLOSED.isdisjoint(self.numbers)

    @property
    def conflict(self) -> bool:
        """Whether the engine ended our transaction in favour of another: repeating it is right."""
        return not _CONFLICTS.isdisjoint({*self.states, *self.numbers})


def codes_of(error: BaseException) -> Codes:
    """The codes of the error and of what caused it."""
    states: set[str] = set()
    numbers: set[int] = set()
    results: set[str] = set()
    for each in _chain(error):
        state = getattr(each, "sqlstate", None)
        if isinstance(state, str):
            states.add(state)
        result = getattr(each, "sqlite_errorname", None)
        if isinstance(result, str):
            results.add(result)
        for argument in each.args:
            if isinstance(argument, int):
                numbers.add(argument)
            elif isinstance(argument, str):
                if _SQLSTATE.fullmatch(argument):
                    states.add(argument)
                phrase = _PHRASE.match(argument)
                if phrase and phrase[1] in _PHRASES:
                    states.add(_PHRASES[phrase[1]])
                    if _DATABASE_MISSING.search(argument):
                        numbers.add(4060)
                for pattern in _NUMBERS:
                    numbers.update(int(number) for number in pattern.findall(argument))
    return Codes(frozenset(states), frozenset(numbers), frozenset(results))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
