"""A SQL Server that is played: it answers what the product asks its catalogue, and keeps it.

For what no server at hand has: synonyms, linked servers, fixed roles, databases without versions.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from apps.ingestion.erp.guard import is_read
from apps.ingestion.erp.tables import parse_table_name
from tests.sql_server import offline_connection

Row = tuple[Any, ...]

_HAS_PERMS = re.compile(
    r"HAS_PERMS_BY_NAME\(([^,]+), (NULL|'\w+'), '([A-Z ]+)'\)|"
    r"(IS_SRVROLEMEMBER|IS_ROLEMEMBER)\('(\w+)'\)"
)


@dataclass
class Thing:
    """A table, unless it stands for (`base`) or reads (`reads`) something else."""

    rights: set[str] = field(default_factory=set)
    writable_columns: set[str] = field(default_factory=set)
    base: str = ""
    reads: list[tuple[str, str]] = field(default_factory=list)  # (schema, name)
    answers: bool = True  # whether the server tells what the login may do with it

    @property
    def kind(self) -> str:
        if self.base:
            return "SN"
        return "V " if self.reads else "U "


@dataclass
class Database:
    """What is in it, by (schema, name), and what the login is in it."""

    things: dict[tuple[str, str], Thing] = field(default_factory=dict)
    powers: set[str] = field(default_factory=set)  # roles and permissions
    acts_as: list[str] = field(default_factory=list)
    read_only: bool = False
    accessible: bool = True
    snapshot: bool = True
    read_committed_snapshot: bool = True


class PlayedServer:
    """One server, to which `connection` is open in the first of the databases.

    `sent` has every statement with the places in the product's code that it comes from.
    """

    def __init__(self, **databases: Database) -> None:
        self.databases = databases
        # More statements by their beginnings, with the rows that answer them.
        self.also: dict[str, list[Row]] = {}
        self.powers: set[str] = set()
        self.acts_as: list[str] = []
        self.lists_logins = True
        self.sent: list[tuple[str, set[tuple[str, int]]]] = []
        self.connection = self._connect(next(iter(databases)))

    def _connect(self, database: str) -> Any:
        connection: Any = offline_connection()
        connection.settings_dict["NAME"] = database

        @contextmanager
        def cursor() -> Iterator[_Cursor]:
            yield _Cursor(self, connection.settings_dict["NAME"])

        connection.cursor = cursor
        connection.close = lambda: None
        connection.copy = lambda alias="": self._connect(database)
        return connection

    def find(self, name: str, here: str) -> tuple[str, str, str] | None:
        """Database, schema and name of what is meant; the default schema is dbo."""
        *where, thing = parse_table_name(name.replace("..", ".[dbo]."))
        schema = where.pop() if where else "dbo"
        database = where.pop() if where else here
        known = self.databases.get(database)
        return (database, schema, thing) if known and (schema, thing) in known.things else None


class _Cursor:
    """One statement after the other, in one database."""

    def __init__(self, server: PlayedServer, database: str) -> None:
        self._server = server
        self._here = database
        self._rows: list[Row] = []

    def execute(self, sql: str, parameters: Any = None) -> None:
        assert sql.count("%s") == len(parameters or []), sql
        self._server.sent.append((sql, set(_callers())))
        for beginning, rows in self._server.also.items():
            if sql.startswith(beginning):
                self._rows = [*rows]
                return
        assert is_read(sql), sql
        for pattern, answer in _ANSWERS:
            if re.search(pattern, sql):
                self._rows = answer(self, sql, list(parameters or []))
                return
        raise AssertionError(f"nobody plays this: {sql}")

    @property
    def description(self) -> list[Row]:
        """One column, and one more for each further value of the first row."""
        return [(f"column{n}",) for n in range(len(self._rows[0]))] if self._rows else []

    def nextset(self) -> bool:
        return False

    def fetchone(self) -> Row | None:
        return self._rows.pop(0) if self._rows else None

    def fetchall(self) -> list[Row]:
        rows, self._rows = self._rows, []
        return rows

    # --- what the server knows ---------------------------------------------------------------

    @property
    def _database(self) -> Database:
        return self._server.databases[self._here]

    def _current(self, sql: str, parameters: list[Any]) -> list[Row]:
        return [(self._here,)]

    def _access(self, sql: str, parameters: list[Any]) -> list[Row]:
        found = self._server.databases.get(parameters[0])
        return [(parameters[0], int(found.accessible)) if found else (None, None)]

    def _object(self, sql: str, parameters: list[Any]) -> list[Row]:
        found = self._server.find(parameters[0], self._here)
        if found is None:
            return []
        database, schema, name = found
        thing = self._server.databases[database].things[schema, name]
        parts = thing.base.split(".") if thing.base else []
        base = [None] * (4 - len(parts)) + [part or None for part in parts]
        return [(schema, name, thing.kind, *base)]

    def _usage(self, sql: str, parameters: list[Any]) -> list[Row]:
        (database,) = re.findall(r"FROM \[(\w+)\]", sql)
        return [*self._server.databases[database].things[parameters[0], parameters[1]].reads]

    def _versions(self, sql: str, parameters: list[Any]) -> list[Row]:
        return [
            (name, int(each.snapshot), each.read_committed_snapshot)
            for name, each in self._server.databases.items()
            if name in parameters
        ]

    def _updateability(self, sql: str, parameters: list[Any]) -> list[Row]:
        return [("READ_ONLY" if self._database.read_only else "READ_WRITE",)]

    def _catalogue(self, sql: str, parameters: list[Any]) -> list[Row]:
        is_there = parameters != ["sys.server_principals"] or self._server.lists_logins
        return [(1 if is_there else None,)]

    def _principals(self, sql: str, parameters: list[Any]) -> list[Row]:
        assert "server_principals" not in sql or self._server.lists_logins
        whose = self._server if "server_principals" in sql else self._database
        return [(name,) for name in whose.acts_as]

    def _column(self, sql: str, parameters: list[Any]) -> list[Row]:
        return [(int(bool(self._thing(parameters[0]).writable_columns)),)]

    def _powers(self, sql: str, parameters: list[Any]) -> list[Row]:
        answers: list[int | None] = []
        for securable, kind, permission, function, role in _HAS_PERMS.findall(sql):
            if kind == "'OBJECT'":
                thing = self._thing(parameters.pop(0))
                answers.append(int(permission in thing.rights) if thing.answers else None)
            else:
                is_server = function == "IS_SRVROLEMEMBER" or securable == "NULL"
                held = self._server.powers if is_server else self._database.powers
                answers.append(int((role or permission) in held))
        return [tuple(answers)]

    def _thing(self, name: str) -> Thing:
        found = self._server.find(name, self._here)
        assert found is not None, name
        assert found[0] == self._here, f"{name} is asked about outside of its database"
        return self._database.things[found[1:]]


def _callers() -> Iterator[tuple[str, int]]:
    """Module and line of each function of the product that is at work."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_globals.get("__name__", "")
        if name.startswith("apps."):
            yield name, frame.f_lineno


_ANSWERS: list[tuple[str, Callable[[_Cursor, str, list[Any]], list[Row]]]] = [
    (r"^SELECT DB_NAME\(\)$", _Cursor._current),
    (r"HAS_DBACCESS", _Cursor._access),
    (r"\.sys\.objects AS o", _Cursor._object),
    (r"FROM \[\w+\]\.INFORMATION_SCHEMA\.VIEW_TABLE_USAGE", _Cursor._usage),
    (r"^SELECT OBJECT_ID\(%s\)$", _Cursor._catalogue),
    (r"FROM sys\.databases", _Cursor._versions),
    (r"'Updateability'", _Cursor._updateability),
    (r"_principals WHERE", _Cursor._principals),
    (r"FROM sys\.columns", _Cursor._column),
    (r"IS_SRVROLEMEMBER|IS_ROLEMEMBER|HAS_PERMS_BY_NAME", _Cursor._powers),
]
