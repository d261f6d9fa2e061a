"""SQL for SQL Server, checked without one: compiled by mssql-django and parsed as T-SQL.

What a month of nights, commands, pages, all migrations and the reading of an ERP send there. SQL
that the product's own code holds is looked at in test_sql_server_catalogue.py. That the statements
do what they say is shown where a server is (tests/README.md).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command, get_commands
from django.db import connection, models
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from sqlglot import exp

from apps.ingestion.erp.mapping import parse_mapping
from apps.ingestion.erp.models import (
    ErpRelation,
    OrderForm,
    active_rows,
    padded_orders,
    rows_of_orders,
)
from apps.ingestion.tests.erp_table import ErpTable
from apps.po.columns import FilterKind, all_columns
from apps.po.filters import filter_names
from apps.po.models import CUSTOM_SLOTS
from apps.po.presets import PRESETS
from tests.factories import CustomColumnFactory, IngestionRunFactory, POLineFactory
from tests.nights import Act, History, Night, Setup, lived
from tests.sql_server import compiled_for_sql_server, known, offline_connection, parsed
from tests.test_pages import ADDRESSES, PEOPLE, filled, person, read_to_its_end

DATED = (FilterKind.DATES, FilterKind.MOMENTS)


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


# What each command is given; None: it asks the database nothing through Django's models.
COMMANDS: dict[str, list[tuple[str, ...]] | None] = {
    "configure_custom_column": [
        ("custom_text_1", "--label", "Note", "--source", "erp", "--erp-column", "remark"),
        ("custom_text_2", "--label", "Mine", "--source", "user"),
        ("custom_text_2", "--deactivate"),
        (),
    ],
    "run_ingestion": [("--as-of", "2025-03-01"), ("--as-of", "2025-03-02", "--accept-drop")],
    "check_erp": [(), ("--json",)],
    "import_xref": [("{folder}/xref.csv",), ("{folder}/xref.csv", "--replace", "--dry-run")],
    "ingestion_history": [(), ("--json", "--limit", "1")],
    "prune_snapshots": [("--keep", "1")],
    "create_admin": [("first",), ("second", "--unless-one-exists")],
    "doctor": [("--json",)],
    "backup": None,  # the engine's own tools
    "restore": None,
    "serve": None,
}


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="once is enough, beside one engine")
def test_what_the_commands_ask_and_write_is_sql_servers_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {name for name, app in get_commands().items() if app.startswith("apps.")}
    assert {*COMMANDS} == ours - {"demo", "load_adventureworks"}
    (tmp_path / "xref.csv").write_text("supplier,item_code,sku,item\n,BOLT,SKU-1,Screws\n")
    monkeypatch.setenv("PO_TRACKING_ADMIN_PASSWORD", "a long and unusual one")
    erp = ErpTable(tmp_path / "erp.sqlite3")
    erp.add("A1", status="?")
    erp.add("A2", status="C")
    with compiled_for_sql_server() as sent, erp.connected():
        for name in COMMANDS:
            for arguments in COMMANDS[name] or ():
                given = [argument.format(folder=tmp_path) for argument in arguments]
                output = io.StringIO()
                code: int | str | None = 0
                try:
                    call_command(name, *given, stdout=output, stderr=output)
                except SystemExit as end:
                    code = end.code
                # The doctor finds fault with the tests' own settings.
                assert code == 0 or name == "doctor", output.getvalue()
    _assert_only_sql_servers_language(sent)


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="once is enough, beside one engine")
def test_what_the_pages_ask_is_sql_servers_language() -> None:
    POLineFactory.create_batch(3)
    for slot in CUSTOM_SLOTS:
        CustomColumnFactory.create(slot=slot, label=slot)
    IngestionRunFactory.create()
    with compiled_for_sql_server() as sent:
        for who in PEOPLE:
            client = person(who)
            for address in [*map(filled, ADDRESSES), *lists()]:
                read_to_its_end(client.get(address))
                read_to_its_end(client.get(address, headers={"HX-Request": "true"}))
            client.post("/sign-out/")
        Client().post("/sign-in/", {"username": "nobody", "password": "wrong"})
    _assert_only_sql_servers_language(sent)


def lists() -> Iterator[str]:
    """The list in every preset, sorted and filtered by every column."""
    for preset in PRESETS:
        yield f"/po/?preset={preset}"
    for column in all_columns().values():
        for name in filter_names(column):
            value = "2026-03-01" if column.filter in DATED else "12"
            value = column.choices[0][0] if column.choices else value
            yield f"/po/?{name}={value}&sort=-{column.key}&columns={column.key}"


def _assert_only_sql_servers_language(sent: set[str]) -> None:
    assert len(sent) > 10
    for sql in sent:
        parsed(sql)


def test_every_migration_of_the_project_is_sql_servers_language() -> None:
    offline = offline_connection()
    loader = MigrationLoader(None)
    nodes = [(key, loader.get_migration(*key)) for key in loader.graph.nodes]
    ours = [(key, each) for key, each in nodes if each.__module__.startswith("apps.")]
    assert len(ours) >= 6
    statements: list[str] = []
    with known(offline):
        for key, migration in ours:
            state = loader.project_state([key], at_end=False)
            with offline.schema_editor(collect_sql=True, atomic=False) as editor:
                migration.apply(state, editor, collect_sql=True)
            statements += [s for s in editor.collected_sql if s and not s.startswith("--")]
    created = [sql for sql in statements if sql.startswith("CREATE TABLE")]
    assert len(created) >= 15
    for sql in statements:
        parsed(sql.removesuffix(";"))


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
