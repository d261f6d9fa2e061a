"""Bulk writing stores exactly what it is given, on each engine, in the caller's transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from apps.audit.models import AuditEvent
from apps.core import bulk
from apps.core.bulk import chunks, insert_rows, update_rows
from apps.po.models import POLine, Supplier
from tests.factories import A_MOMENT, AuditEventFactory, POLineFactory, SupplierFactory
from tests.sql_server import offline_connection

pytestmark = pytest.mark.django_db


@contextmanager
def statements() -> Iterator[list[Sequence[Any]]]:
    """The parameters of each statement that is executed inside."""
    seen: list[Sequence[Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        seen.append(params)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield seen


# What COPY, a statement's placeholders or JSON could take for something of their own.
TEXTS = [
    "",
    " leading and trailing ",
    "tab\tnewline\ncarriage\rreturn",
    r"back\slash \N \. \t",
    "\\N",
    "'; DROP TABLE po_supplier; --",
    "100% %s %(name)s ?",
    '"quoted", {"json": [1]}',
    "Größe 丸善 Ελλάδα \U0001f600 \u00a0",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back_as_it_was_written(text: str) -> None:
    insert_rows(Supplier, ("code", "name"), [("S1", text)])
    assert Supplier.objects.get(code="S1").name == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))))
def test_any_texts_come_back_in_the_order_they_were_written(texts: list[str]) -> None:
    rows = [(f"S{number}", text) for number, text in enumerate(texts)]
    assert insert_rows(Supplier, ("code", "name"), rows) == len(rows)
    assert list(Supplier.objects.order_by("pk").values_list("code", "name")) == rows
    Supplier.objects.all().delete()


LINE = {
    "po_number": "PO1",
    "line_number": "10",
    "generation": 1,
    "erp_item_code": "X",
    "ordered_quantity": "10.000",
    "delivered_quantity": "0.000",
    "erp_status": "O",
    "promised_date": None,
    "in_date": None,
    "erp_item": "",
    "po_insert_date": None,
    "final_customer": "",
    "erp_sku": "",
    "erp_updated_at": None,
    "sku": "",
    "item": "",
    "unmapped": False,
    "batched_quantity": "0",
    "status": "planned",
    "production_ready_date": None,
    "ready_to_dispatch_date": None,
    "source_quality": "",
    "ready_quantity": "0",
    "last_expeditor_update": None,
    "custom_sources": "{}",
    "custom_erp_values": "{}",
    "presence": "present",
    "previous_presence": "",
    "presence_since": "2026-03-02",
    "first_seen_at": A_MOMENT,
    "first_run": 1,
    "presence_run": 1,
    "last_run": 1,
    "receipts_known": False,
    "row_hash": "0" * 32,
    "custom_hash": "",
    "field_set": "0" * 32,
    "custom_field_set": "",
    **{f"custom_{kind}_{n}": None for kind in ("date", "decimal") for n in range(1, 6)},
    **{f"custom_text_{n}": "" for n in range(1, 6)},
}

TOKYO = timezone(timedelta(hours=9))
# Field, what is given, what comes back.
VALUES: list[tuple[str, Any, Any]] = [
    ("ordered_quantity", "0.001", Decimal("0.001")),
    ("ordered_quantity", "-0.100", Decimal("-0.100")),
    ("ordered_quantity", "999999999999.999", Decimal("999999999999.999")),
    ("ordered_quantity", "-999999999999.999", Decimal("-999999999999.999")),
    ("ordered_quantity", "12345678901.239", Decimal("12345678901.239")),
    ("ordered_quantity", Decimal("0.1") + Decimal("0.2"), Decimal("0.300")),
    ("custom_decimal_1", "1.005", Decimal("1.005")),
    ("custom_decimal_1", None, None),
    ("promised_date", "2024-02-29", date(2024, 2, 29)),
    ("promised_date", date(9999, 12, 31), date(9999, 12, 31)),
    ("promised_date", None, None),
    ("erp_updated_at", None, None),
    (
        "erp_updated_at",
        datetime(2026, 3, 2, 8, 0, 0, 123456, tzinfo=TOKYO),
        datetime(2026, 3, 1, 23, 0, 0, 123456, tzinfo=UTC),
    ),
    ("erp_updated_at", datetime(1, 1, 2, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)),
    ("unmapped", True, True),
    ("unmapped", False, False),
    ("last_run", 2**63 - 1, 2**63 - 1),
    ("custom_sources", '{"custom_text_1": "erp"}', {"custom_text_1": "erp"}),
    ("custom_erp_values", '{"a": null, "ä": "\\n\\\\N 丸"}', {"a": None, "ä": "\n\\N 丸"}),
    ("custom_text_1", "NULL", "NULL"),
]


@pytest.mark.parametrize(("field", "given_value", "stored"), VALUES)
def test_a_value_of_each_kind_is_inserted_exactly(
    field: str, given_value: Any, stored: Any
) -> None:
    row = {**LINE, "supplier_id": SupplierFactory.create().pk, field: given_value}
    # Beside a row with another value: one statement has to carry both.
    other = {**row, "line_number": "20", field: LINE[field]}
    insert_rows(POLine, tuple(row), [tuple(row.values()), tuple(other.values())])
    line = POLine.objects.get(line_number="10")
    assert getattr(line, field) == stored
    assert type(getattr(line, field)) is type(stored)


@pytest.mark.parametrize(("field", "given_value", "stored"), VALUES)
def test_a_value_of_each_kind_is_updated_exactly(field: str, given_value: Any, stored: Any) -> None:
    line, other = POLineFactory.create(), POLineFactory.create()
    untouched = POLine.objects.filter(pk=other.pk).values().get()
    assert update_rows(POLine, (field,), [(given_value, line.pk)]) == 1
    line.refresh_from_db()
    assert getattr(line, field) == stored
    assert type(getattr(line, field)) is type(stored)
    assert POLine.objects.filter(pk=other.pk).values().get() == untouched


def test_an_update_writes_the_named_columns_only_each_row_its_own_values() -> None:
    lines = [POLineFactory.create(sku=f"before {n}", item="kept") for n in range(3)]
    rows = ((f"after {line.pk}", line.pk) for line in lines[:2])
    assert update_rows(POLine, ("sku",), rows) == 2
    assert list(POLine.objects.order_by("pk").values_list("sku", "item")) == [
        (f"after {lines[0].pk}", "kept"),
        (f"after {lines[1].pk}", "kept"),
        ("before 2", "kept"),
    ]


@pytest.mark.skipif("connection.vendor == 'sqlite'", reason="SQLite knows no length of a text")
def test_a_text_that_is_too_long_is_refused_and_not_cut() -> None:
    line = POLineFactory.create(sku="before")
    with pytest.raises(DatabaseError), transaction.atomic():
        update_rows(POLine, ("sku",), [("x" * 129, line.pk)])
    with pytest.raises(DatabaseError), transaction.atomic():
        insert_rows(Supplier, ("code", "name"), [("S" * 65, "")])


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the rows travel as JSON there")
def test_an_update_refuses_by_name_what_has_no_exact_text() -> None:
    line = POLineFactory.create()
    with pytest.raises(TypeError, match="bytes cannot be written"):
        update_rows(POLine, ("sku",), [(b"raw", line.pk)])


def test_history_is_inserted_with_its_identifiers_moments_and_json() -> None:
    act, effective = uuid.uuid4(), datetime(2026, 3, 2, 9, 30, 0, 5, tzinfo=TOKYO)
    data = {"changes": [{"field": "sku", "previous": None, "new": "é\n"}]}
    rows = [
        (A_MOMENT, effective, "xref_gap", None, "ERP ingestion", "ingestion", act, None, None, why,
         json.dumps(data, ensure_ascii=False))
        for why in ("first", "second")
    ]  # fmt: skip
    fields = (
        "recorded_at", "effective_at", "event_type", "actor_id", "actor_name", "source",
        "correlation_id", "po_line_id", "supplier_id", "reason", "data",
    )  # fmt: skip
    assert insert_rows(AuditEvent, fields, rows) == 2
    first, second = AuditEvent.objects.order_by("pk")
    assert (first.reason, second.reason) == ("first", "second")
    assert (first.correlation_id, second.correlation_id) == (act, act)
    assert (first.recorded_at, first.effective_at) == (A_MOMENT, effective)
    assert (first.actor, first.po_line, first.data) == (None, None, data)


def test_nothing_to_write_asks_the_database_nothing(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(0):
        assert insert_rows(Supplier, ("code", "name"), []) == 0
        assert insert_rows(Supplier, ("code", "name"), iter(())) == 0
        assert update_rows(Supplier, ("name",), []) == 0


def test_what_is_written_goes_when_the_transaction_is_rolled_back() -> None:
    supplier = SupplierFactory.create(name="before")
    with transaction.atomic():
        insert_rows(Supplier, ("code", "name"), [("S9", "new")])
        update_rows(Supplier, ("name",), [("after", supplier.pk)])
        assert Supplier.objects.filter(name__in=("new", "after")).count() == 2
        transaction.set_rollback(True)
    assert list(Supplier.objects.values_list("name", flat=True)) == ["before"]


def test_one_row_that_is_refused_leaves_none_of_the_call_behind() -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_rows(Supplier, ("code", "name"), [("S1", ""), ("S2", ""), ("S1", "")])
    assert not Supplier.objects.exists()


# On SQL Server a trigger that refuses ends the whole transaction, so these two have real ones.
@pytest.mark.django_db(transaction=True)
def test_history_refuses_an_update_in_bulk_too() -> None:
    event = AuditEventFactory.create(reason="before")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        update_rows(AuditEvent, ("reason",), [("after", event.pk)])
    assert AuditEvent.objects.get().reason == "before"


REFUSING_TRIGGER = {
    "sqlite": [
        "CREATE TRIGGER refuse_suppliers BEFORE INSERT ON po_supplier WHEN NEW.code = 'refused' "
        "BEGIN SELECT RAISE(ABORT, 'refused by the trigger'); END"
    ],
    "postgresql": [
        "CREATE FUNCTION refuse_suppliers() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'refused by the trigger'; END $$",
        "CREATE TRIGGER refuse_suppliers BEFORE INSERT ON po_supplier FOR EACH ROW "
        "WHEN (NEW.code = 'refused') EXECUTE FUNCTION refuse_suppliers()",
    ],
    "microsoft": [
        "CREATE TRIGGER refuse_suppliers ON po_supplier AFTER INSERT AS "
        "IF EXISTS (SELECT 1 FROM inserted WHERE code = 'refused') "
        "THROW 50001, 'refused by the trigger', 1"
    ],
}


REMOVED_TRIGGER = {
    "sqlite": ["DROP TRIGGER refuse_suppliers"],
    "postgresql": ["DROP FUNCTION refuse_suppliers() CASCADE"],
    "microsoft": ["DROP TRIGGER refuse_suppliers"],
}


@pytest.fixture
def refusing_suppliers(transactional_db: None) -> Iterator[None]:
    for statements in (REFUSING_TRIGGER, REMOVED_TRIGGER):
        with connection.cursor() as cursor:
            for statement in statements[connection.vendor]:
                cursor.execute(statement)
        if statements is REFUSING_TRIGGER:
            yield


def test_no_way_in_goes_around_a_trigger(refusing_suppliers: None) -> None:
    insert_rows(Supplier, ("code", "name"), [("taken", "")])
    with pytest.raises(DatabaseError, match="refused by the trigger"), transaction.atomic():
        insert_rows(Supplier, ("code", "name"), [("S1", ""), ("refused", "")])
    assert list(Supplier.objects.values_list("code", flat=True)) == ["taken"]


@pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 149])
def test_any_number_of_rows_is_written_in_order_whatever_fits_a_statement(count: int) -> None:
    rows = [(f"S{n:04}", f"name {n}") for n in range(count)]
    assert insert_rows(Supplier, ("code", "name"), rows) == count
    assert list(Supplier.objects.order_by("pk").values_list("code", "name")) == rows


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="how SQLite groups rows")
def test_a_wide_row_stays_below_the_limit_of_parameters() -> None:
    common = {**LINE, "supplier_id": SupplierFactory.create().pk}
    rows = [tuple({**common, "line_number": str(n)}.values()) for n in range(100)]
    limit = connection.features.max_query_params or 0
    with statements() as seen:
        assert insert_rows(POLine, tuple(common), rows) == 100
    assert all(len(parameters) <= limit for many in seen for parameters in many)
    assert sum(len(parameters) for many in seen for parameters in many) == 100 * len(common)


class TestSqlServerWithoutOne:
    """What would be sent to SQL Server; that it does what it says is proven where one is."""

    @pytest.fixture
    def sent(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[Any]]]:
        offline = offline_connection()
        sent: list[tuple[str, list[Any]]] = []

        class Cursor:
            def __enter__(self) -> Cursor:
                return self

            def __exit__(self, *error: object) -> None: ...

            def execute(self, sql: str, parameters: list[Any]) -> None:
                sent.append((sql, parameters))

        monkeypatch.setattr(offline, "cursor", Cursor)
        monkeypatch.setattr(bulk, "connections", {"default": offline})
        return sent

    def test_rows_are_inserted_several_a_statement(self, sent: list[tuple[str, list[Any]]]) -> None:
        fields = ("code", "name")
        assert insert_rows(Supplier, fields, [("S1", "丸善"), ("S2", None)]) == 2
        [(sql, parameters)] = sent
        assert sql == "INSERT INTO [po_supplier] ([code], [name]) VALUES (%s, %s), (%s, %s)"
        assert parameters == ["S1", "丸善", "S2", None]

    def test_rows_are_updated_through_a_join_by_primary_key_in_the_types_of_their_columns(
        self, sent: list[tuple[str, list[Any]]]
    ) -> None:
        assert update_rows(POLine, ("sku", "unmapped"), [("A", True, 7), ("B", False, 8)]) == 2
        row = "(CAST(%s AS nvarchar(max)), CAST(%s AS bit), CAST(%s AS bigint))"
        [(sql, parameters)] = sent
        assert sql == (
            "UPDATE [po_poline] SET [sku] = [new].[c0], [unmapped] = [new].[c1] FROM [po_poline] "
            f"INNER JOIN (VALUES {row}, {row}) AS [new] ([c0], [c1], [c2]) "
            "ON [po_poline].[id] = [new].[c2]"
        )
        assert parameters == ["A", True, 7, "B", False, 8]

    def test_moments_days_decimals_and_identifiers_travel_as_exact_texts(
        self, sent: list[tuple[str, list[Any]]]
    ) -> None:
        act = uuid.uuid4()
        moment = datetime(2026, 3, 2, 8, 0, 0, 123456, tzinfo=TOKYO)
        insert_rows(AuditEvent, ("recorded_at", "correlation_id"), [(moment, act)])
        values = [(date(2024, 2, 29), Decimal("0.100"), 1)]
        update_rows(POLine, ("promised_date", "ordered_quantity"), values)
        told = [parameters for _, parameters in sent]
        assert "VALUES (CAST(%s AS datetimeoffset), %s)" in sent[0][0]
        assert told == [
            ["2026-03-01T23:00:00.123456+00:00", act.hex],
            ["2024-02-29", "0.100", 1],
        ]

    @pytest.mark.parametrize(
        ("fields", "sizes"),
        [(("code", "name"), [50, 50, 20]), (("code",) * 60, [33, 33, 33, 21])],
    )
    def test_no_statement_exceeds_the_servers_limits_of_rows_and_parameters(
        self, sent: list[tuple[str, list[Any]]], fields: tuple[str, ...], sizes: list[int]
    ) -> None:
        rows = [(f"S{n:05}",) * len(fields) for n in range(120)]
        assert insert_rows(Supplier, fields, rows) == 120
        assert [sql.count("(%s") for sql, _ in sent] == sizes
        assert all(len(parameters) <= 2_000 for _, parameters in sent)
        told = [value for _, parameters in sent for value in parameters]
        assert told == [value for row in rows for value in row]

    @pytest.mark.parametrize(
        ("column", "given", "sent_as"),
        [
            ("ordered_quantity", [5, Decimal("0.100"), "1.5", 2.5, Decimal("1E+2"), None],
             ["5", "0.100", "1.5", "2.5", "100", None]),
            ("sku", [7, "A", None, Decimal("0.10"), date(2024, 2, 29)],
             ["7", "A", None, "0.10", "2024-02-29"]),
            ("promised_date", ["2024-02-29", date(2024, 2, 29), None],
             ["2024-02-29", "2024-02-29", None]),
            ("last_run", [1, 2**40, None], [1, 2**40, None]),
            ("supplier_id", [1, 2**40, None], [1, 2**40, None]),
            ("unmapped", [True, False], [True, False]),
        ],
    )  # fmt: skip
    def test_all_values_of_a_column_are_of_one_kind_so_that_none_decides_for_the_others(
        self,
        sent: list[tuple[str, list[Any]]],
        column: str,
        given: list[Any],
        sent_as: list[Any],
    ) -> None:
        # In VALUES of several rows SQL Server takes the strongest type: a text beside an int must
        # be an int, or the statement fails.
        insert_rows(POLine, (column,), [(value,) for value in given])
        update_rows(POLine, (column,), [(value, 1) for value in given])
        (_, inserted), (_, updated) = sent
        assert inserted == sent_as
        assert updated[::2] == sent_as

    def test_a_statement_without_columns_or_with_too_many_is_refused_in_words(
        self, sent: list[tuple[str, list[Any]]]
    ) -> None:
        with pytest.raises(ValueError, match=r"No column of \[po_supplier\] is named"):
            insert_rows(Supplier, (), [()])
        with pytest.raises(ValueError, match=r"No column of \[po_supplier\] is named"):
            update_rows(Supplier, (), [(1,)])
        with pytest.raises(ValueError, match="2,001 values a row are more than the 2,000"):
            insert_rows(Supplier, ("code",) * 2_001, [("S",) * 2_001])
        with pytest.raises(ValueError, match="2,001 values a row are more than the 2,000"):
            update_rows(Supplier, ("code",) * 2_000, [("S",) * 2_000 + (1,)])
        assert sent == []
        assert insert_rows(Supplier, ("code",) * 2_000, [("S",) * 2_000] * 2) == 2
        assert len(sent) == 2


def test_chunks_keep_order_and_lose_nothing() -> None:
    assert list(chunks(iter(range(7)), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(chunks([1, 2, 3], 3)) == [[1, 2, 3]]
    assert list(chunks([], 3)) == []
