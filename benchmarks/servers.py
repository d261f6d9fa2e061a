"""Database servers in the benchmark: scratch databases, and the ERP in one of them.

One class per engine holds what differs; the statements of all others are the same on each.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import date
from decimal import Decimal
from itertools import chain
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import django
from django.conf import settings
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler
from tenacity import retry, retry_if_exception_type, stop_after_delay

from apps.core.bulk import chunks
from benchmarks.erp_data import COLUMNS, KEY, TABLE, Expected, Row, SqliteErp, rows
from po_tracking.databases import application_database

# Rows a statement: below SQL Server's 2,100 parameters.
_ROWS_AT_ONCE = 2_000 // len(COLUMNS)


class Server:
    """A database server where the benchmark makes its own databases, and no other is touched."""

    product: str
    url_variable: str
    erp_url_variable: str
    # A database that every server has, to connect to while there is none of ours.
    maintenance: str
    version: str
    # Kind of an ERP column -> its type.
    types: Mapping[str, str]
    drop: str
    # What a new database, and one to be dropped, is set to where the server knows ALTER DATABASE.
    options: Sequence[str] = ()
    options_to_drop: Sequence[str] = ()

    def __init__(self, url: str) -> None:
        """The address of any database of the server, also of one that does not exist."""
        self.url = url

    @contextmanager
    def scratch_database(self, purpose: str) -> Iterator[str]:
        """The address of a new database, which is dropped at the end."""
        name = f"po_benchmark_{purpose}_{secrets.token_hex(4)}"
        self._administer(f"CREATE DATABASE {name}")
        try:
            self._set(name, self.options)
            yield self._address(name)
        finally:
            self._drop(name)

    # A connection that was just closed may be some moments in going.
    @retry(retry=retry_if_exception_type(DatabaseError), stop=stop_after_delay(20), reraise=True)
    def _drop(self, name: str) -> None:
        self._set(name, self.options_to_drop)
        self._administer(self.drop.format(name=name))

    def running_version(self) -> str:
        """What the server says it is."""
        with self._maintaining() as cursor:
            cursor.execute(self.version)
            return f"{self.product} {cursor.fetchone()[0]}"

    def _administer(self, statement: str) -> None:
        with self._maintaining() as cursor:
            cursor.execute(statement)

    def _set(self, name: str, options: Sequence[str]) -> None:
        for option in options:
            with suppress(DatabaseError):  # Babelfish has it so by itself, and no such statement
                self._administer(f"ALTER DATABASE {name} SET {option}")

    @contextmanager
    def _maintaining(self) -> Iterator[Any]:
        address = self._address(self.maintenance)
        with closing(connect(address)) as connection, connection.cursor() as cursor:
            yield cursor

    def _address(self, database: str) -> str:
        parts = urlsplit(self.url)
        # A socket's folder is a part of the path, too.
        before, _, _ = parts.path.rpartition("/")
        return urlunsplit(parts._replace(path=f"{before}/{database}"))


class PostgreSql(Server):
    product = "PostgreSQL"
    url_variable = erp_url_variable = "TEST_POSTGRES_URL"
    maintenance = "postgres"
    version = "SELECT current_setting('server_version')"
    types = {
        "code": "char({size})",
        "text": "varchar({size})",
        "quantity": "numeric(15, 3)",
        "date": "date",
    }
    drop = "DROP DATABASE {name} WITH (FORCE)"


class SqlServer(Server):
    product = "SQL Server"
    url_variable = "TEST_MSSQL_URL"
    erp_url_variable = "TEST_MSSQL_ERP_URL"
    maintenance = "master"
    version = "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(60))"
    types = {
        "code": "nchar({size})",
        "text": "nvarchar({size})",
        "quantity": "decimal(15, 3)",
        "date": "date",
    }
    drop = "DROP DATABASE {name}"
    # As scripts/sqlserver/create_app_database.sql does.
    options = ("READ_COMMITTED_SNAPSHOT ON", "ALLOW_SNAPSHOT_ISOLATION ON")
    options_to_drop = ("SINGLE_USER WITH ROLLBACK IMMEDIATE",)


SERVERS: dict[str, type[Server]] = {"postgres": PostgreSql, "mssql": SqlServer}


def servers(engine: str, url: str | None) -> tuple[Server, Server] | None:
    """The application's server and the ERP's: at this address, else where the environment says.
    None if nobody says."""
    kind = SERVERS[engine]
    own = url or os.environ.get(kind.url_variable)
    erp = url or os.environ.get(kind.erp_url_variable) or own
    return (kind(own), kind(erp)) if own and erp else None


class ServerErp:
    """The ERP of an SQLite file once more, on a server: the same rows in the server's types."""

    def __init__(self, server: Server, url: str, origin: SqliteErp) -> None:
        self.server = server
        self.url = url
        self.origin = origin

    def create(self) -> Expected:
        """Both as on the first day; says what the baseline must find."""
        expected = self.origin.create()
        with self._writing() as (quoted, cursor):
            columns = ", ".join(
                f"{quoted(column.name)} {column.definition(self.server.types)}"
                for column in COLUMNS.values()
            )
            key = ", ".join(quoted(COLUMNS[field].name) for field in KEY)
            cursor.execute(f"CREATE TABLE {quoted(TABLE)} ({columns}, PRIMARY KEY ({key}))")
            marks = f"({', '.join(['%s'] * len(COLUMNS))})"
            for some in chunks(rows(self.origin.lines), _ROWS_AT_ONCE):
                values = [*chain.from_iterable(typed(row) for row in some)]
                all_marks = ", ".join([marks] * len(some))
                cursor.execute(f"INSERT INTO {quoted(TABLE)} VALUES {all_marks}", values)
        return expected

    def live_through(self, night: int, share: float) -> Expected:
        """The same night in both; says what a run must find."""
        expected = self.origin.live_through(night, share)
        with self._writing() as (quoted, cursor):
            assignments = ", ".join(f"{quoted(column.name)} = %s" for column in COLUMNS.values())
            where = " AND ".join(f"{quoted(COLUMNS[field].name)} = %s" for field in KEY)
            cursor.executemany(
                f"UPDATE {quoted(TABLE)} SET {assignments} WHERE {where}",
                [(*typed(row), *row[: len(KEY)]) for row in self.origin.overwritten_rows],
            )
        return expected

    @contextmanager
    def _writing(self) -> Iterator[tuple[Callable[[str], str], Any]]:
        """How the engine quotes names, and a cursor whose work is committed at the end."""
        with closing(connect(self.url)) as erp:
            erp.set_autocommit(False)
            with erp.cursor() as cursor:
                yield erp.ops.quote_name, cursor
            erp.commit()


def connect(url: str) -> BaseDatabaseWrapper:
    """A connection of its own to this address, by the driver that the product would use."""
    if not settings.configured:
        settings.configure(USE_TZ=True, DATABASE_CONNECTION_POOLING=False)
        django.setup()
    return ConnectionHandler({"default": application_database(url)}).create_connection("default")


def typed(row: Row) -> Iterator[Any]:
    """The values of a row as a server's driver gives and takes them."""
    for column, value in zip(COLUMNS.values(), row, strict=True):
        if value is None or column.kind not in ("quantity", "date"):
            yield value
        elif column.kind == "date":
            yield date.fromisoformat(value)
        else:
            yield Decimal(str(value))
