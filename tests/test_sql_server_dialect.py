"""SQL for SQL Server, checked without one: compiled by mssql-django and parsed as T-SQL.

What a month of nights, all migrations and the reading of an ERP send there. That the statements do
what they say is shown where a server is (tests/README.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlglot
from django.core.exceptions import EmptyResultSet
from django.db import connection, connections, models
from django.db.migrations.loader import MigrationLoader
from django.db.models.sql import compiler
from sqlglot import exp

from apps.core.bulk import sqlite, sqlserver
from apps.core.bulk.target import Target
from apps.ingestion.erp.mapping import parse_mapping
from apps.ingestion.erp.models import (
    ErpRelation,
    OrderForm,
    active_rows,
    padded_orders,
    rows_of_orders,
)
from tests.nights import Act, History, Night, Setup, lived
from tests.sql_server import offline_connection

# Statements that the parser takes as they are, because it does not know their inner grammar.
_UNPARSED = re.compile(r"CREATE TRIGGER", re.IGNORECASE)


def parsed(sql: str) -> list[Any]:
    """The statements in SQL Server's grammar: one, or an INSERT and the question for its key."""
    text = sql.replace("%s", "NULL").replace("%%", "%")
    statements = []
    for statement in sqlglot.parse(text, dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE):
        assert statement is not None
        if isinstance(statement, exp.Command):
            assert _UNPARSED.match(text), f"not T-SQL: {text[:300]}"
        statements.append(statement)
    return statements


@contextmanager
def compiled_for_sql_server() -> Iterator[set[str]]:
    """All that goes to the application's database inside is compiled for SQL Server as well."""
    offline = offline_connection()
    sent: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        for kind in (
            compiler.SQLCompiler, compiler.SQLInsertCompiler, compiler.SQLUpdateCompiler,
            compiler.SQLDeleteCompiler, compiler.SQLAggregateCompiler,
        ):  # fmt: skip
            if "execute_sql" in vars(kind):
                patch.setattr(kind, "execute_sql", _watched(kind.execute_sql, offline, sent))
        for way in ("insert", "update"):
            patch.setattr(sqlite, way, _doubled(getattr(sqlite, way), way, offline, sent))
        yield sent


def _watched(execute: Any, offline: Any, sent: set[str]) -> Any:
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.connection.alias == "default" and type(self).execute_sql is not None:
            try:
                statements = self.query.clone().get_compiler(connection=offline).as_sql()
            except EmptyResultSet:
                statements = []
            if isinstance(statements, tuple):
                statements = [statements]
            sent.update(sql for sql, _ in statements if sql)
        return execute(self, *args, **kwargs)

    return watched


def _doubled(write: Any, way: str, offline: Any, sent: set[str]) -> Any:
    class Cursor:
        def __enter__(self) -> Cursor:
            return self

        def __exit__(self, *error: object) -> None: ...

        def execute(self, sql: str, parameters: list[Any] | None = None) -> None:
            assert parameters is None or len(parameters) <= 2_100
            sent.add(sql)

    def doubled(target: Target, *rows: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(offline, "cursor", Cursor)
            getattr(sqlserver, way)(Target(offline, target.model, target.columns), *rows)
        write(target, *rows)

    return doubled


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="once is enough, beside one engine")
def test_what_busy_nights_ask_and_write_is_sql_servers_language() -> None:
    acts = [((Act.CANCEL, n), (Act.CLOSE_GAP, n), (Act.OVER_ERP, n)) for n in range(4)]
    nights = [*(Night(acts=some) for some in acts), Night(acts=((Act.REMOVE_ENTRY, 3),))]
    busy = ("reuse", "move", "vanish", "change_closed", "redate", "reopen", "change_item")
    history = History(3, 30, busy, Setup(receipts=True, lookback_days=60), tuple(nights))
    with compiled_for_sql_server() as sent, lived(history):
        pass
    kinds = {type(statement).__name__ for sql in sent for statement in parsed(sql)}
    assert {"Select", "Insert", "Update", "Delete"} <= kinds
    assert len(sent) > 60
    # Columns of two collations cannot be compared there; KeyField says which are exact.
    assert not any("COLLATE" in sql for sql in sent)


def test_every_migration_of_the_project_is_sql_servers_language() -> None:
    offline = offline_connection()
    loader = MigrationLoader(None)
    nodes = [(key, loader.get_migration(*key)) for key in loader.graph.nodes]
    ours = [(key, each) for key, each in nodes if each.__module__.startswith("apps.")]
    assert len(ours) >= 6
    statements: list[str] = []
    with _known(offline):
        for key, migration in ours:
            state = loader.project_state([key], at_end=False)
            with offline.schema_editor(collect_sql=True, atomic=False) as editor:
                migration.apply(state, editor, collect_sql=True)
            statements += [s for s in editor.collected_sql if s and not s.startswith("--")]
    created = [sql for sql in statements if sql.startswith("CREATE TABLE")]
    assert len(created) >= 15
    for sql in statements:
        parsed(sql.removesuffix(";"))


@contextmanager
def _known(offline: Any) -> Iterator[None]:
    """Django's router looks connections up by name."""
    connections.settings[offline.alias] = offline.settings_dict
    connections[offline.alias] = offline
    try:
        yield
    finally:
        del connections[offline.alias]
        del connections.settings[offline.alias]


MAPPINGS = {
    "one oddly named table": """
[lines]
table = "[dbo].[PO Lines]"
[lines.columns]
po_number = "PO No."
line_number = "Line]No"
supplier_code = "Vendor"
item_code = "Item"
ordered_quantity = "Ordered"
delivered_quantity = { column = "Received", minus = "Rejected" }
status = "State"
[lines.active]
closed_statuses = ["C"]
[lines.status_map]
"C" = "closed"
""",
    "head and lines in another database": """
[lines]
table = "erp.Purchasing.PurchaseOrderDetail"
[lines.joins.head]
table = "erp.Purchasing.PurchaseOrderHeader"
on = { PurchaseOrderID = "PurchaseOrderID" }
[lines.columns]
po_number = "PurchaseOrderID"
line_number = "PurchaseOrderDetailID"
supplier_code = "head.VendorID"
item_code = "ProductID"
ordered_quantity = "OrderQty"
delivered_quantity = "ReceivedQty"
status = "head.Status"
[lines.active]
closed_statuses = ["4"]
[lines.status_map]
"4" = "closed"
""",
}


@pytest.mark.parametrize("text", MAPPINGS.values(), ids=MAPPINGS.keys())
def test_what_is_asked_of_the_erp_is_sql_servers_language(text: str) -> None:
    offline = offline_connection()
    mapping = parse_mapping(text, "mapping.toml")
    relation = ErpRelation(mapping.lines, (), offline)
    columns = [column for source in mapping.lines.fields.values() for column in source.columns]
    order = mapping.lines.fields["po_number"].column
    forms: tuple[OrderForm, ...] = ("plain", "padded", "number")
    asked: list[models.QuerySet[Any, Any]] = [
        active_rows(relation, mapping, columns),
        padded_orders(relation, order),
        *(rows_of_orders(relation, order, columns, ["1", "2"], stored_as=form) for form in forms),
    ]
    for question in asked:
        sql, _ = question.query.get_compiler(connection=offline).as_sql()
        assert [type(statement) for statement in parsed(sql)] == [exp.Select]
    active, _ = asked[0].query.get_compiler(connection=offline).as_sql()
    # The ERP's own collation may take a code for another one.
    assert "COLLATE Latin1_General_100_BIN2" in active
