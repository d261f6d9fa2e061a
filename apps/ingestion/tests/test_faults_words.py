# ruff: noqa: E501  # the drivers' own words are long
"""What a database error of the ERP means: another attempt or not, and the cure that is named.

The errors are as the drivers word them: psycopg with SQLSTATEs, pyodbc with SQLSTATE and text,
mssql-python with text alone, sqlite3 with result names.
"""

import sqlite3

import pytest
from django.db import OperationalError, ProgrammingError

from apps.ingestion.erp.faults import explain
from apps.ingestion.errors import ErpError, TransientErpError

_ODBC = "[Microsoft][ODBC Driver 18 for SQL Server]"
_SERVER = f"{_ODBC}[SQL Server]"


def raised(*args: object, sqlstate: str | None = None) -> OperationalError:
    """As Django hands it on: its own error, caused by the driver's."""
    cause = Exception(*args)
    if sqlstate is not None:
        cause.sqlstate = sqlstate  # type: ignore[attr-defined]  # as psycopg does
    error = OperationalError(*args)
    error.__cause__ = cause
    return error


DEADLOCK = (
    f"{_SERVER}Transaction (Process ID 52) was deadlocked on lock resources with another process and "
    "has been chosen as the deadlock victim. Rerun the transaction."
)
TRANSIENT = {
    "psycopg: refused": raised(
        'connection failed: connection to server at "127.0.0.1", port 5432 failed: Connection refused\n'
        "\tIs the server running on that host and accepting TCP/IP connections?"
    ),
    "psycopg: refused by a server whose address holds an error number": raised(
        'connection failed: connection to server at "10.0.208.207", port 4060 failed: Connection refused'
    ),
    "psycopg: link lost": raised(
        "consuming input failed: server closed the connection unexpectedly"
    ),
    "psycopg: encrypted link lost": raised(
        "consuming input failed: SSL connection has been closed unexpectedly"
    ),
    "psycopg: encrypted link broken off": raised(
        "consuming input failed: SSL SYSCALL error: EOF detected"
    ),
    "psycopg: the connection is lost": raised("the connection is lost"),
    "psycopg: administrator": raised(
        "terminating connection due to administrator command", sqlstate="57P01"
    ),
    "psycopg: starting": raised("FATAL:  the database system is starting up"),
    "psycopg: serialization": raised("could not serialize access", sqlstate="40001"),
    "psycopg: deadlock": raised("deadlock detected", sqlstate="40P01"),
    "psycopg: lock": raised("canceling statement due to lock timeout", sqlstate="55P03"),
    "psycopg: full": raised("sorry, too many clients already", sqlstate="53300"),
    "psycopg: name": raised('could not translate host name "erp" to address: Try again'),
    "pyodbc: deadlock": raised("40001", f"[40001] {DEADLOCK} (1205) (SQLExecDirectW)"),
    "pyodbc: deadlock of a process whose id is an error number": raised(
        "40001",
        f"[40001] {DEADLOCK.replace('52', '208')} (1205) (SQLExecDirectW)",
    ),
    "pyodbc: link lost": raised(
        "08S01",
        f"[08S01] {_ODBC}TCP Provider: An existing connection was forcibly closed by the remote host.\r\n"
        " (10054) (SQLFetch)",
    ),
    "pyodbc: encrypted link lost": raised(
        "08S01",
        f"[08S01] {_ODBC}SSL Provider: An existing connection was forcibly closed by the remote host.\r\n"
        " (10054) (SQLFetch)",
    ),
    "pyodbc: login time-out": raised(
        "HYT00", f"[HYT00] {_ODBC}Login timeout expired (0) (SQLDriverConnect)"
    ),
    "pyodbc: not there": raised(
        "08001",
        f"[08001] {_ODBC}TCP Provider: Error code 0x2749 (10061) (SQLDriverConnect); [08001] {_ODBC}A "
        "network-related or instance-specific error has occurred while establishing a connection to erp.",
    ),
    "pyodbc: lock": raised(
        "42000",
        f"[42000] {_SERVER}Lock request time out period exceeded. (1222) (SQLExecDirectW)",
    ),
    "pyodbc: snapshot": raised(
        "HY000",
        f"[HY000] {_SERVER}Snapshot isolation transaction aborted due to update conflict. (3960) (SQLFetch)",
    ),
    "pyodbc: failover": raised(
        "42000",
        f"[42000] {_SERVER}Database 'erp' on server 'x' is not currently available. (40613) (SQLExecDirectW)",
    ),
    "pyodbc: session killed, as in a failover": raised(
        "HY000",
        f"[HY000] {_SERVER}Cannot continue the execution because the session is in the kill state. (596) (SQLFetch)",
    ),
    "pyodbc: shutting down": raised(
        "42000", f"[42000] {_SERVER}SHUTDOWN is in progress. (6005) (SQLExecDirectW)"
    ),
    "pyodbc: not recovered yet": raised(
        "42000",
        f"[42000] {_SERVER}Database 'erp' has not been recovered yet. Wait and try again. (921) (SQLExecDirectW)",
    ),
    "pyodbc: being recovered, where the login is refused as well": raised(
        "42000",
        f"[42000] {_SERVER}Database 'erp' is being recovered. Waiting until recovery is finished. (922) "
        f'(SQLDriverConnect); [42000] {_SERVER}Cannot open database "erp" requested by the login. The login '
        f"failed. (4060); [28000] {_SERVER}Login failed for user 'reader'. (18456)",
    ),
    "pyodbc: being restored": raised(
        "42000",
        f"[42000] {_SERVER}Database 'erp' cannot be opened. It is in the middle of a restore. (927) "
        f'(SQLDriverConnect); [42000] {_SERVER}Cannot open database "erp" requested by the login. (4060)',
    ),
    "pyodbc: replica changes its role": raised(
        "42000",
        f"[42000] {_SERVER}Unable to access availability database 'erp' because the database replica is not in "
        "the PRIMARY or SECONDARY role. Try the operation again later. (983) (SQLDriverConnect)",
    ),
    "pyodbc: replica is behind": raised(
        "42000",
        f"[42000] {_SERVER}The target database, 'erp', is participating in an availability group and is "
        "currently not accessible for queries. (976) (SQLDriverConnect)",
    ),
    "pyodbc: replica lacks versions": raised(
        "42000",
        f"[42000] {_SERVER}Login to read-secondary failed due to long wait on "
        "'HADR_DATABASE_WAIT_FOR_TRANSITION_TO_VERSIONING'. (4221) (SQLDriverConnect)",
    ),
    "pyodbc: upgrading its scripts": raised(
        "28000",
        f"[28000] {_SERVER}Login failed for user 'reader'. Reason: Server is in script upgrade mode. Only "
        "administrator can connect at this time. (18401) (SQLDriverConnect)",
    ),
    "mssql-python: deadlock": raised(
        f"Driver Error: Serialization failure; DDBC Error: {DEADLOCK}"
    ),
    "mssql-python: link lost": raised(
        f"Driver Error: Communication link failure; DDBC Error: {_ODBC}TCP Provider: An existing connection "
        "was forcibly closed by the remote host."
    ),
    "mssql-python: not there": raised(
        f"Driver Error: Client unable to establish connection; DDBC Error: {_ODBC}A network-related or "
        "instance-specific error has occurred while establishing a connection to erp."
    ),
    "operating system": ConnectionResetError(104, "Connection reset by peer"),
}

PASSWORD, TABLE, COLUMN = "user and password", "Correct the table", "column was renamed or removed"
GRANT, NAME, CERTIFICATE = "grant the login SELECT", "database name", "certificate"
SNAPSHOT = "ALLOW_SNAPSHOT_ISOLATION on there too"
_NO_SNAPSHOT = (
    f"{_SERVER}Snapshot isolation transaction failed accessing database 'Other' because snapshot "
    "isolation is not allowed in this database. Use ALTER DATABASE to allow snapshot isolation."
)
FATAL = {
    "pyodbc: a database without snapshot isolation": (
        raised("42000", f"[42000] {_NO_SNAPSHOT} (3952) (SQLExecDirectW)"),
        SNAPSHOT,
    ),
    "mssql-python: a database without snapshot isolation": (
        raised(f"Driver Error: Syntax error or access violation; DDBC Error: {_NO_SNAPSHOT}"),
        SNAPSHOT,
    ),
    "psycopg: password": (
        raised(
            'connection failed: connection to server at "10.0.0.5", port 5432 failed: FATAL:  password '
            'authentication failed for user "reader"'
        ),
        PASSWORD,
    ),
    "psycopg: login": (
        raised('connection failed: FATAL:  role "reader" does not exist'),
        PASSWORD,
    ),
    "pyodbc: password": (
        raised(
            "28000",
            f"[28000] {_SERVER}Login failed for user 'reader'. (18456) (SQLDriverConnect)",
        ),
        PASSWORD,
    ),
    "mssql-python: password": (
        raised(
            "Driver Error: Invalid authorization specification; DDBC Error: "
            f"{_SERVER}Login failed for user 'reader'."
        ),
        PASSWORD,
    ),
    "pyodbc: paused by an administrator": (
        raised(
            "42000",
            f"[42000] {_SERVER}SQL Server service has been paused. No new connections will be allowed. (17142) "
            "(SQLDriverConnect)",
        ),
        "check_erp",
    ),
    "pyodbc: a replica that only takes the intent to read": (
        raised(
            "42000",
            f"[42000] {_SERVER}The target database ('erp') is in an availability group and is currently "
            "accessible for connections when the application intent is set to read only. (978) "
            "(SQLDriverConnect)",
        ),
        "check_erp",
    ),
    "psycopg: table": (raised('relation "orders" does not exist', sqlstate="42P01"), TABLE),
    "pyodbc: table": (
        raised(
            "42S02", f"[42S02] {_SERVER}Invalid object name 'dbo.orders'. (208) (SQLExecDirectW)"
        ),
        TABLE,
    ),
    "mssql-python: its libraries": (
        raised(
            "Driver Error: Connection operation failed; DDBC Error: Failed to load the driver. "
            "Please read the documentation."
        ),
        "apt-get install libodbc2 libltdl7",
    ),
    "mssql-python: table": (
        raised(
            "Driver Error: Base table or view not found; DDBC Error: "
            f"{_SERVER}Invalid object name 'dbo.orders'."
        ),
        TABLE,
    ),
    "sqlite: table": (raised("no such table: orders"), TABLE),
    "psycopg: column": (raised('column "promised" does not exist', sqlstate="42703"), COLUMN),
    "pyodbc: column": (
        raised("42S22", f"[42S22] {_SERVER}Invalid column name 'promised'. (207) (SQLExecDirectW)"),
        COLUMN,
    ),
    "sqlite: column": (raised("no such column: promised"), COLUMN),
    "psycopg: permission": (raised("permission denied for table orders", sqlstate="42501"), GRANT),
    "pyodbc: permission": (
        raised(
            "42000",
            f"[42000] {_SERVER}The SELECT permission was denied on the object 'orders', database 'erp', "
            "schema 'dbo'. (229) (SQLExecDirectW)",
        ),
        GRANT,
    ),
    "psycopg: database": (
        raised('connection failed: FATAL:  database "erp" does not exist'),
        NAME,
    ),
    "pyodbc: database": (
        raised(
            "42000",
            f'[42000] {_SERVER}Cannot open database "erp" requested by the login. The login failed. (4060) '
            "(SQLDriverConnect)",
        ),
        NAME,
    ),
    "sqlite: file": (raised("unable to open database file"), NAME),
    "pyodbc: driver": (
        raised(
            "01000",
            "[01000] [unixODBC][Driver Manager]Can't open lib 'ODBC Driver 18 for SQL Server' : file not "
            "found (0) (SQLDriverConnect)",
        ),
        "Install the ODBC driver",
    ),
    "pyodbc: certificate": (
        raised(
            "08001",
            f"[08001] {_ODBC}SSL Provider: [error:0A000086:SSL routines::certificate verify failed:"
            "self-signed certificate] (-1) (SQLDriverConnect)",
        ),
        CERTIFICATE,
    ),
    "psycopg: certificate": (
        raised('connection failed: root certificate file "/x/root.crt" does not exist'),
        CERTIFICATE,
    ),
    "a length that looks like an error number": (
        raised(
            "22018",
            f"[22018] {_SERVER}Conversion failed when converting the nvarchar(64) value 'x' to data type int."
            " (245) (SQLExecDirectW)",
        ),
        "check_erp",
    ),
    "something new": (ProgrammingError("syntax error at or near"), "check_erp"),
}


@pytest.mark.parametrize("error", TRANSIENT.values(), ids=TRANSIENT.keys())
def test_a_passing_fault_is_worth_another_attempt(error: Exception) -> None:
    explained = explain(error)
    assert isinstance(explained, TransientErpError), explained.remedy
    assert "up and reachable" in explained.remedy


@pytest.mark.parametrize(("error", "cure"), FATAL.values(), ids=FATAL.keys())
def test_a_lasting_fault_fails_at_once_and_names_its_cure(error: Exception, cure: str) -> None:
    explained = explain(error)
    assert type(explained) is ErpError
    assert cure in explained.remedy


def test_a_locked_sqlite_file_is_transient_by_its_result_name(erp_file_locked: Exception) -> None:
    assert isinstance(explain(erp_file_locked), TransientErpError)


@pytest.fixture
def erp_file_locked() -> Exception:
    """A real error of the library, worded so that only its result name tells what it is."""
    cause = sqlite3.OperationalError("busy")
    cause.sqlite_errorname = "SQLITE_BUSY_SNAPSHOT"
    error = OperationalError("busy")
    error.__cause__ = cause
    return error


def test_the_message_is_the_first_line_of_the_drivers() -> None:
    explained = explain(raised("relation is gone\nLINE 1: SELECT ...\n        ^", sqlstate="42P01"))
    assert explained.message == "The ERP could not be read: relation is gone"


def test_an_error_without_words_is_called_by_its_kind() -> None:
    assert explain(OperationalError()).message == "The ERP could not be read: OperationalError"
