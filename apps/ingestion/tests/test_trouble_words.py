# ruff: noqa: E501  # the drivers' own words are long
"""What an error of the application's database is told to mean, as each driver words it."""

import sqlite3

import pytest
from django.db import DatabaseError, Error, InterfaceError, OperationalError

from apps.ingestion.errors import RunActiveError
from apps.ingestion.trouble import explain_unexpected, refusing_when_locked

_ODBC = "[Microsoft][ODBC Driver 18 for SQL Server]"
_SERVER = f"{_ODBC}[SQL Server]"
_CONNECTING = 'connection failed: connection to server at "10.0.0.5", port 5432 failed: '


def raised(
    *args: object, kind: type[Error] = OperationalError, sqlstate: str = "", result: str = ""
) -> Error:
    """As Django hands it on: its own error, caused by the driver's."""
    cause: Exception = sqlite3.OperationalError(*args) if result else Exception(*args)
    if sqlstate:
        cause.sqlstate = sqlstate  # type: ignore[attr-defined]  # as psycopg does
    if result:
        cause.sqlite_errorname = result  # type: ignore[attr-defined]  # as sqlite3 does
    error = kind(*args)
    error.__cause__ = cause
    return error


DRIVER, MISSING, LOGIN = "Install the ODBC driver", "has no such database", "Login refused"
UNREACHABLE, TABLES, FULL = "cannot be reached", "manage.py migrate", "disk"
READ_ONLY, LOCKED, FILE = "cannot be written", "writing", "file cannot be opened"
CAUSES = {
    "pyodbc: no driver, unixODBC": (
        raised(
            "01000",
            "[01000] [unixODBC][Driver Manager]Can't open lib 'ODBC Driver 18 for SQL Server' : file not found (0) (SQLDriverConnect)",
            kind=Error,
        ),
        DRIVER,
    ),
    "pyodbc: no driver, Windows": (
        raised(
            "IM002",
            "[IM002] [Microsoft][ODBC Driver Manager] Data source name not found and no default driver specified (0) (SQLDriverConnect)",
            kind=InterfaceError,
        ),
        DRIVER,
    ),
    "pyodbc: a driver that does not load": (
        raised("IM003", "[IM003] Le pilote n'a pas pu être chargé (160)", kind=InterfaceError),
        DRIVER,
    ),
    "mssql-python: its libraries": (
        raised("Driver Error: Connection operation failed; DDBC Error: Failed to load the driver."),
        "apt-get install libodbc2 libltdl7",
    ),
    "pyodbc: password": (
        raised(
            "28000",
            f"[28000] {_SERVER}Login failed for user 'po'. (18456) (SQLDriverConnect)",
            kind=InterfaceError,
        ),
        LOGIN,
    ),
    "pyodbc: password, told in another language": (
        raised(
            "28000",
            f"[28000] {_SERVER}Fehler bei der Anmeldung für den Benutzer 'po'. (18456) (SQLDriverConnect)",
            kind=InterfaceError,
        ),
        LOGIN,
    ),
    "pyodbc: locked out": (
        raised(
            "28000",
            f"[28000] {_SERVER}Login failed for user 'po' because the account is currently locked out. (18486) (SQLDriverConnect)",
            kind=InterfaceError,
        ),
        LOGIN,
    ),
    "mssql-python: password": (
        raised(
            f"Driver Error: Invalid authorization specification; DDBC Error: {_SERVER}Login failed for user 'po'."
        ),
        LOGIN,
    ),
    "psycopg: password": (
        raised(f'{_CONNECTING}FATAL:  password authentication failed for user "po"'),
        LOGIN,
    ),
    "psycopg: password, by its code": (
        raised("FATAL:  Passwort-Authentifizierung fehlgeschlagen", sqlstate="28P01"),
        LOGIN,
    ),
    "psycopg: login": (raised(f'{_CONNECTING}FATAL:  role "po" does not exist'), LOGIN),
    "pyodbc: database": (
        raised(
            "28000",
            f"[28000] {_SERVER}Login failed for user 'po'. (18456) (SQLDriverConnect); [28000] {_SERVER}Cannot open database \"po\" requested by the login. The login failed. (4060)",
            kind=InterfaceError,
        ),
        MISSING,
    ),
    "mssql-python: database": (
        raised(
            f'Driver Error: Invalid authorization specification; DDBC Error: {_SERVER}Cannot open database "po" requested by the login. The login failed.'
        ),
        MISSING,
    ),
    "psycopg: database": (raised(f'{_CONNECTING}FATAL:  database "po" does not exist'), MISSING),
    "psycopg: database, by its code": (
        raised("FATAL:  Datenbank »po« existiert nicht", sqlstate="3D000"),
        MISSING,
    ),
    "pyodbc: not there": (
        raised(
            "08001",
            f"[08001] {_ODBC}Named Pipes Provider: Could not open a connection to SQL Server [53].  (53) (SQLDriverConnect); [08001] {_ODBC}Login timeout expired (0)",
        ),
        UNREACHABLE,
    ),
    "pyodbc: login time-out": (
        raised("HYT00", f"[HYT00] {_ODBC}Login timeout expired (0) (SQLDriverConnect)"),
        UNREACHABLE,
    ),
    "pyodbc: link lost": (
        raised("08S01", f"[08S01] {_ODBC}TCP Provider: reset (10054) (SQLExecDirectW)"),
        UNREACHABLE,
    ),
    "psycopg: not there": (raised(f"{_CONNECTING}Connection refused"), UNREACHABLE),
    "psycopg: link lost": (raised("the connection is lost"), UNREACHABLE),
    "psycopg: starting": (
        raised("FATAL:  the database system is starting up", sqlstate="57P03"),
        UNREACHABLE,
    ),
    "psycopg: certificate": (
        raised('connection failed: root certificate file "/x/root.crt" does not exist'),
        "certificate authority",
    ),
    "pyodbc: certificate": (
        raised(
            "08001",
            f"[08001] {_ODBC}SSL Provider: certificate verify failed (-1) (SQLDriverConnect)",
        ),
        "certificate authority",
    ),
    "psycopg: table": (
        raised('relation "po_poline" does not exist', sqlstate="42P01"),
        TABLES,
    ),
    "psycopg: column": (raised('column "sku" does not exist', sqlstate="42703"), TABLES),
    "pyodbc: table": (
        raised(
            "42S02",
            f"[42S02] {_SERVER}Invalid object name 'disk is full'. (208) (SQLExecDirectW)",
            kind=DatabaseError,
        ),
        TABLES,
    ),
    "sqlite: table": (raised("no such table: po_poline", result="SQLITE_ERROR"), TABLES),
    "pyodbc: full": (
        raised(
            "42000",
            f"[42000] {_SERVER}The transaction log for database 'po' is full due to 'LOG_BACKUP'. (9002) (SQLExecDirectW)",
        ),
        FULL,
    ),
    "psycopg: full": (raised("could not extend file", sqlstate="53100"), FULL),
    "sqlite: full": (raised("database or disk is full", result="SQLITE_FULL"), FULL),
    "sqlite: read-only": (
        raised("attempt to write a readonly database", result="SQLITE_READONLY"),
        READ_ONLY,
    ),
    "psycopg: read-only": (
        raised("cannot execute INSERT in a read-only transaction", sqlstate="25006"),
        READ_ONLY,
    ),
    "sqlite: locked": (raised("database is locked", result="SQLITE_BUSY"), LOCKED),
    "sqlite: file": (raised("unable to open database file", result="SQLITE_CANTOPEN"), FILE),
    "pyodbc: deadlock": (
        raised("40001", f"[40001] {_SERVER}deadlock victim (1205) (SQLExecDirectW)"),
        "passes by itself",
    ),
    "psycopg: lock": (
        raised("canceling statement due to lock timeout", sqlstate="55P03"),
        "passes by itself",
    ),
    "pyodbc: lock": (
        raised(
            "42000",
            f"[42000] {_SERVER}Lock request time out period exceeded. (1222) (SQLExecDirectW)",
        ),
        "passes by itself",
    ),
    "pyodbc: being recovered": (
        raised(
            "42000",
            f"[42000] {_SERVER}Database 'po' is being recovered. (922) (SQLDriverConnect); [28000] {_SERVER}Login failed for user 'po'. (18456)",
        ),
        "passes by itself",
    ),
    "pyodbc: upgrading its scripts": (
        raised(
            "28000",
            f"[28000] {_SERVER}Login failed for user 'po'. Reason: Server is in script upgrade mode. (18401) (SQLDriverConnect)",
            kind=InterfaceError,
        ),
        "passes by itself",
    ),
    "something new": (raised("syntax error at or near"), "ingestion.log"),
}


@pytest.mark.parametrize(("error", "cure"), CAUSES.values(), ids=CAUSES.keys())
def test_each_fault_of_the_database_names_its_own_cure(error: Error, cure: str) -> None:
    notice = explain_unexpected("start", error)
    assert cure in notice.remedy
    assert notice.message.startswith(
        f"The application's database refused: {type(error).__name__}: "
    )
    assert len({remedy for _, remedy in CAUSES.values() if remedy in notice.remedy}) == 1


def test_an_error_that_is_none_of_the_database_is_a_fault_of_ours() -> None:
    notice = explain_unexpected("start", TypeError("unhashable"))
    assert "This is a fault in PO Tracking" in notice.remedy


@pytest.mark.parametrize("result", ["SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED"])
def test_a_locked_file_is_another_run(result: str) -> None:
    with pytest.raises(RunActiveError), refusing_when_locked():
        raise raised("database is locked", result=result)


def test_an_account_that_is_locked_out_is_no_other_run() -> None:
    error, _ = CAUSES["pyodbc: locked out"]
    with pytest.raises(InterfaceError), refusing_when_locked():
        raise error
    said_differently = raised("28000", "the account is currently locked out (18486)")
    with pytest.raises(OperationalError), refusing_when_locked():
        raise said_differently
