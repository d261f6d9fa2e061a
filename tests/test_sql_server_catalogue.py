"""SQL for SQL Server that stands in the product's own code, checked without a server.

It is collected by letting the code ask a played server; which places of the code must have been
heard there is read from the code, so that a new statement cannot be forgotten here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, OperationalError

from apps.audit import append_only
from apps.ingestion.erp import preflight, reader, rights
from apps.ingestion.erp.mapping import parse_mapping
from apps.ingestion.erp.reader import ErpReader
from apps.ingestion.errors import ErpError
from apps.operations.backups import content, sqlserver
from apps.operations.checks import database, machine
from tests.played_server import Database, PlayedServer, Thing
from tests.sql_server import parsed
from tests.walls import Module, called, product

# Modules and functions that send SQL to other engines, or that are looked at elsewhere.
ELSEWHERE = {
    "apps.core.bulk.": "rows written in bulk: test_sql_server_dialect.py",
    "apps.audit.append_only._run": "the migrations: test_sql_server_dialect.py",
    "apps.ingestion.erp.reader.ErpReader._stream": "Django's SQL: test_sql_server_dialect.py",
    "apps.ingestion.erp.guard.": "hands on what others send",
    "apps.operations.checks.database._quick_check": "SQLite",
}
OTHER_ENGINE = re.compile(r"sqlite|postgresql")  # in the name of a module or function
OTHER_VENDOR = re.compile(r"vendor == '(sqlite|postgresql)'")
# What takes a statement, and where: a cursor's own, and what some modules put around it.
SENDERS = {"execute": "apps.", "ask": "apps.operations.", "_row": "apps.operations."}
MAPPING = """
[lines]
table = "Lines"
[lines.joins.head]
table = "other.dbo.[PO Heads]"
on = { "[No.]" = "No." }
[lines.columns]
po_number = "No."
line_number = "Line"
supplier_code = "head.Vendor"
item_code = "Item"
ordered_quantity = "Qty"
delivered_quantity = "Received"
status = "State"
"""


class _Sites(ast.NodeVisitor):
    """Where a module sends SQL, as far as that may be to SQL Server."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.found: list[tuple[str, range]] = []
        self._within = [module.name]

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # named by ast
        self._visit_named(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:  # named by ast
        self._visit_named(node)

    def visit_If(self, node: ast.If) -> None:  # named by ast
        inside = [] if OTHER_VENDOR.search(ast.unparse(node.test)) else node.body
        for child in (node.test, *inside, *node.orelse):
            self.visit(child)

    def visit_Call(self, node: ast.Call) -> None:  # named by ast
        if self.module.name.startswith(SENDERS.get(called(node), "-")):
            where = ".".join(self._within)
            self.found.append((where, range(node.lineno, (node.end_lineno or node.lineno) + 1)))
        self.generic_visit(node)

    def _visit_named(self, node: ast.FunctionDef | ast.ClassDef) -> None:
        self._within.append(node.name)
        self.generic_visit(node)
        self._within.pop()


def sites() -> Iterator[tuple[str, str, range]]:
    """Module, function and lines of every place that sends SQL to whatever engine it has."""
    for module in product():
        if module.app == "demo":
            continue
        visitor = _Sites(module)
        visitor.visit(module.tree)
        for where, lines in visitor.found:
            is_elsewhere = any(where.startswith(name) for name in ELSEWHERE)
            if not is_elsewhere and not OTHER_ENGINE.search(where):
                yield module.name, where, lines


@pytest.fixture
def server() -> PlayedServer:
    """With a table of the mapping in each of two databases, one of them behind a synonym."""
    lines = Thing({"SELECT"}, base="erp.dbo.vLines")
    view = Thing({"SELECT"}, reads=[("dbo", "tLines")])
    server = PlayedServer(
        erp=Database(
            {("dbo", "Lines"): lines, ("dbo", "vLines"): view, ("dbo", "tLines"): Thing()}
        ),
        other=Database({("dbo", "PO Heads"): Thing({"SELECT"})}),
    )
    server.also = {
        "SET TRANSACTION": [],
        "SELECT * FROM": [],
        "SELECT COLUMN_NAME": [],
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM INFORMATION_SCHEMA.TABLES": [("dbo", "Lines")],
        "SELECT name, is_read_committed_snapshot_on": [("po", True, 1)],
        "SELECT name FROM sys.triggers": [],
        "SELECT SYSUTCDATETIME()": [(datetime.now(UTC),)],
        "SELECT CAST(SERVERPROPERTY('EngineEdition')": [(3, "15")],
        "SELECT CAST(SERVERPROPERTY('InstanceDefaultDataPath')": [("D:\\Data\\", "E:\\Log\\")],
        "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(60)), @@SERVERNAME": [
            ("15", "ERP1", "erp", "po_reader")
        ],
        "SELECT CAST(SERVERPROPERTY('ProductVersion')": [("15",)],
        "SELECT DB_ID(": [(7,)],
        "SELECT SUSER_SNAME(), USER_NAME(), HAS_PERMS": [("po", "po", 1, 1, 1)],
        "SELECT SUM(CAST(size AS bigint))": [(8192,)],
        "SELECT CAST(DATABASEPROPERTYEX(N'": [("ONLINE",)],
        "SELECT physical_name": [("D:\\Data\\po.mdf", "D")],
        "SELECT COUNT(*)": [(0,)],
        "SELECT app, name": [("po", "0001_initial")],
        "BACKUP DATABASE": [],
        "RESTORE FILELISTONLY": [("po", "C:\\po.mdf", "D", "PRIMARY", 1, 2)],
        "RESTORE ": [],
        "ALTER DATABASE": [],
        "IF DATABASEPROPERTYEX": [],
    }
    return server


def _check_and_read(server: PlayedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preflight and the beginning of a run."""
    monkeypatch.setattr(reader, "erp_connection", lambda: server.connection)
    mapping = parse_mapping(MAPPING, "mapping.toml")
    preflight.server_of(server.connection)
    preflight.databases_with_moving_reads(server.connection, mapping)
    preflight.examine(mapping, {}, server.connection)
    rights.write_proof(mapping, server.connection)
    with pytest.raises(ErpError):
        preflight.table_of("Nowhere", server.connection)
    ErpReader(mapping, {})._choose_isolation()
    assert server.sent[-1][0] == "SET TRANSACTION ISOLATION LEVEL SNAPSHOT"
    server.databases["other"].snapshot = False
    ErpReader(mapping, {})._choose_isolation()
    assert server.sent[-1][0] == "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"


def _look_at_everything(server: PlayedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor."""
    played = {DEFAULT_DB_ALIAS: server.connection}
    monkeypatch.setattr(server.connection, "ensure_connection", lambda: None)
    for module in (database, machine):
        monkeypatch.setattr(module, "connections", played)
    for look in (
        database.look_at_database,
        database.look_at_size,
        database.look_at_history,
        database.look_at_engine,
        machine.look_at_clock,
    ):
        assert list(look())
    assert append_only.missing(server.connection)


def _back_up_and_restore(server: PlayedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "BACKUP_SQLSERVER_DIR", "D:\\it's here")
    monkeypatch.setattr(content, "tables_of", lambda _: ["po_poline"])
    draft: Any = SimpleNamespace(name="po_2025-03-01")
    copy = sqlserver.back_up(server.connection, draft)
    manifest: Any = SimpleNamespace(data=copy.data)
    backup: Any = SimpleNamespace(manifest=manifest)
    sqlserver.restore(server.connection, backup)
    content.filled_tables(server.connection)
    list(sqlserver.lacks(server.connection, Path("unused")))
    with sqlserver._session(server.connection, "master") as ask:
        sqlserver._bring_back(ask, "it's", OperationalError("refused"))


@pytest.mark.django_db
def test_what_the_code_asks_by_itself_is_sql_servers_language(
    server: PlayedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in (_check_and_read, _look_at_everything, _back_up_and_restore):
        work(server, monkeypatch)
    heard = {place for _, callers in server.sent for place in callers}
    silent = [
        f"{where}, line {lines.start}"
        for module, where, lines in sites()
        if not any((module, line) in heard for line in lines)
    ]
    assert not silent, "let this test hear these, or say in ELSEWHERE why not"
    for sql, _ in server.sent:
        parsed(sql)
