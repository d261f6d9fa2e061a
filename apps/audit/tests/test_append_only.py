"""History cannot be changed: not by the models, not around them, not in the database."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import NotSupportedError, connection, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.utils import DatabaseError, IntegrityError
from django.test import TransactionTestCase

from apps.audit import append_only
from apps.audit.models import AuditEvent, ERPChangeEvent
from apps.audit.querysets import AppendOnlyError
from apps.po.models import Supplier
from tests.append_only import append_only_lifted
from tests.factories import A_MOMENT, AuditEventFactory, ERPChangeEventFactory, SupplierFactory
from tests.sql_server import offline_connection

HISTORY = [
    pytest.param(AuditEventFactory, AuditEvent, "reason", id="audit"),
    pytest.param(ERPChangeEventFactory, ERPChangeEvent, "new_value", id="change"),
]
# Every attempt in a transaction of its own: SQL Server ends the whole one when a trigger refuses.
pytestmark = pytest.mark.django_db(transaction=True)

only_sqlite = pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="how SQLite replaces rows and keeps triggers"
)
only_postgresql = pytest.mark.skipif(
    "connection.vendor != 'postgresql'", reason="statements that only PostgreSQL knows"
)
only_sql_server = pytest.mark.skipif(
    "connection.vendor != 'microsoft'", reason="statements that only SQL Server knows"
)


@contextmanager
def refused(model: type[models.Model]) -> Iterator[None]:
    """On a connection of its own, the database refuses, and says of which table and why."""
    connection.close()
    with pytest.raises(DatabaseError) as caught, transaction.atomic():
        yield
    connection.close()
    if isinstance(caught.value, NotSupportedError):
        assert not connection.features.supports_update_conflicts  # the engine knows no upsert
    else:
        why = f"{model._meta.db_table} is append-only: .* because history"
        assert re.search(why, str(caught.value))


def run(sql: str, parameters: list[Any] | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def stored(model: type[models.Model]) -> list[dict[str, Any]]:
    return list(model._base_manager.order_by("pk").values())


# What the models refuse by themselves, before any SQL.
PYTHON_ATTEMPTS: dict[str, Callable[[Any, type[Any], str], Any]] = {
    "save": lambda row, model, field: row.save(),
    "save some fields": lambda row, model, field: row.save(update_fields=[field]),
    "delete": lambda row, model, field: row.delete(),
    "queryset update": lambda row, model, field: model.objects.filter(pk=row.pk).update(
        **{field: "x"}
    ),
    "queryset delete": lambda row, model, field: model.objects.filter(pk=row.pk).delete(),
    "manager update": lambda row, model, field: model.objects.update(**{field: "x"}),
    "bulk_update": lambda row, model, field: model.objects.bulk_update([row], [field]),
    "upsert": lambda row, model, field: model.objects.bulk_create(
        [row], update_conflicts=True, unique_fields=["id"], update_fields=[field]
    ),
    "update_or_create": lambda row, model, field: model.objects.update_or_create(
        pk=row.pk, defaults={field: "x"}
    ),
    "related delete": lambda row, model, field: (
        type(row).objects.filter(po_line__supplier=row.supplier).delete()
    ),
}

# What goes around the models: only the database is left to refuse it.
DATABASE_ATTEMPTS: dict[str, Callable[[Any, type[Any], str], Any]] = {
    "base manager update": lambda row, model, field: model._base_manager.update(**{field: "x"}),
    "base manager delete": lambda row, model, field: model._base_manager.all().delete(),
    "base manager bulk_update": lambda row, model, field: model._base_manager.bulk_update(
        [row], [field]
    ),
    "base manager upsert": lambda row, model, field: model._base_manager.bulk_create(
        [row], update_conflicts=True, unique_fields=["id"], update_fields=[field]
    ),
    "positional upsert": lambda row, model, field: model.objects.bulk_create(
        [row], None, False, True, [field], ["id"]
    ),
    "save as a fixture does": lambda row, model, field: row.save_base(raw=True),
    "delete without asking": lambda row, model, field: model.objects.filter(pk=row.pk)._raw_delete(
        "default"
    ),
    "raw update": lambda row, model, field: run(
        f"UPDATE {model._meta.db_table} SET {field} = 'x' WHERE id = %s", [row.pk]
    ),
    "raw delete": lambda row, model, field: run(
        f"DELETE FROM {model._meta.db_table} WHERE id = %s", [row.pk]
    ),
    "raw delete of all": lambda row, model, field: run(f"DELETE FROM {model._meta.db_table}"),
}


@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
@pytest.mark.parametrize("attempt", PYTHON_ATTEMPTS.values(), ids=PYTHON_ATTEMPTS.keys())
def test_the_models_refuse_every_change(
    factory: Any, model: type[models.Model], field: str, attempt: Callable[..., Any]
) -> None:
    row = factory.create()
    before = stored(model)
    setattr(row, field, "changed")
    with pytest.raises(AppendOnlyError, match=f"{model.__name__} is append-only"):
        attempt(row, model, field)
    assert stored(model) == before


@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
@pytest.mark.parametrize("attempt", DATABASE_ATTEMPTS.values(), ids=DATABASE_ATTEMPTS.keys())
def test_the_database_refuses_every_change_that_goes_around_the_models(
    factory: Any, model: type[models.Model], field: str, attempt: Callable[..., Any]
) -> None:
    row = factory.create()
    before = stored(model)
    setattr(row, field, "changed")
    with refused(model):
        attempt(row, model, field)
    assert stored(model) == before


@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
def test_a_line_cannot_take_over_the_history_of_another(
    factory: Any, model: type[models.Model], field: str
) -> None:
    mine, other = factory.create(), factory.create()
    related = "audit_events" if model is AuditEvent else "erp_changes"
    with refused(model):
        getattr(mine.po_line, related).add(other)


def test_a_row_with_an_id_that_is_taken_is_refused() -> None:
    row = AuditEventFactory.create()
    with pytest.raises(IntegrityError), transaction.atomic():
        AuditEventFactory.create(pk=row.pk)


@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
def test_what_history_speaks_of_cannot_be_deleted_from_under_it(
    factory: Any, model: type[models.Model], field: str
) -> None:
    row = factory.create()
    with pytest.raises(models.ProtectedError):
        row.po_line.delete()
    with pytest.raises(models.ProtectedError):
        row.supplier.delete()


@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
def test_new_rows_are_added_one_by_one_and_in_bulk(
    factory: Any, model: type[Any], field: str
) -> None:
    first = factory.create()
    same = {"po_line": first.po_line, "supplier": first.supplier, **run_of(first)}
    model.objects.bulk_create([factory.build(**same), factory.build(**same)])
    assert model.objects.count() == 3


def run_of(row: AuditEvent | ERPChangeEvent) -> dict[str, Any]:
    """The saved run that an unsaved change event needs."""
    return {"run": row.run} if isinstance(row, ERPChangeEvent) else {}


@only_sqlite
@pytest.mark.parametrize("recursive_triggers", ["ON", "OFF"])
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT OR REPLACE INTO {table} SELECT * FROM {table}",
        "REPLACE INTO {table} SELECT * FROM {table}",
        "INSERT OR IGNORE INTO {table} SELECT * FROM {table}",
        "UPDATE OR REPLACE {table} SET id = 1",
        "UPDATE OR IGNORE {table} SET recorded_at = '2000-01-01'",
        "INSERT INTO {table} SELECT * FROM {table} WHERE true"
        " ON CONFLICT (id) DO UPDATE SET recorded_at = '2000-01-01'",
    ],
)
@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
def test_sqlite_refuses_to_replace_rows_whatever_the_connection_was_told(
    factory: Any, model: type[models.Model], field: str, statement: str, recursive_triggers: str
) -> None:
    factory.create()
    before = stored(model)
    run(f"PRAGMA recursive_triggers={recursive_triggers}")
    try:
        with refused(model):
            run(statement.format(table=model._meta.db_table))
    finally:
        run("PRAGMA recursive_triggers=ON")
    assert stored(model) == before


@only_sqlite
def test_the_application_connects_to_sqlite_with_recursive_triggers() -> None:
    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA recursive_triggers").fetchone() == (1,)


@only_postgresql
@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE {table}",
        "TRUNCATE {table} RESTART IDENTITY CASCADE",
        "TRUNCATE po_supplier CASCADE",
        "DELETE FROM {table} WHERE false",
        "UPDATE ONLY {table} SET recorded_at = now()",
        "MERGE INTO {table} t USING {table} s ON t.id = s.id WHEN MATCHED THEN DELETE",
    ],
)
@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
def test_postgresql_refuses_truncate_and_merge_too(
    factory: Any, model: type[models.Model], field: str, statement: str
) -> None:
    factory.create()
    before = stored(model)
    refusals = "audit_(auditevent|erpchangeevent) is append-only"
    with pytest.raises(IntegrityError, match=refusals), transaction.atomic():
        run(statement.format(table=model._meta.db_table))
    assert stored(model) == before


@only_sql_server
@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE TABLE {table}",
        "DELETE TOP (1) FROM {table}",
        "UPDATE {table} SET recorded_at = SYSDATETIMEOFFSET() WHERE 1 = 1",
        "MERGE INTO {table} AS t USING {table} AS s ON t.id = s.id WHEN MATCHED THEN DELETE;",
    ],
)
@pytest.mark.parametrize(("factory", "model", "field"), HISTORY)
def test_sql_server_refuses_truncate_and_merge_too(
    factory: Any, model: type[models.Model], field: str, statement: str
) -> None:
    factory.create()
    before = stored(model)
    with pytest.raises(DatabaseError), transaction.atomic():
        run(statement.format(table=model._meta.db_table))
    connection.close()
    assert stored(model) == before


def test_a_refused_change_leaves_the_rest_of_its_transaction_to_be_rolled_back() -> None:
    row = AuditEventFactory.create()
    with refused(AuditEvent):
        SupplierFactory.create(code="written-with-it")
        AuditEvent._base_manager.filter(pk=row.pk).update(reason="x")
    assert not Supplier.objects.filter(code="written-with-it").exists()


def test_the_migration_can_be_taken_back_and_applied_again() -> None:
    row = AuditEventFactory.create()
    with append_only_lifted():
        AuditEvent._base_manager.filter(pk=row.pk).update(reason="lifted")
    with refused(AuditEvent):
        AuditEvent._base_manager.filter(pk=row.pk).update(reason="x")
    assert AuditEvent.objects.get().reason == "lifted"


class EngineUnderTest:
    """A schema editor that only notes what it is told."""

    def __init__(self, vendor: str) -> None:
        self.connection = type("Connection", (), {"vendor": vendor})
        self.statements: list[str] = []

    def execute(self, statement: str, params: None) -> None:
        self.statements.append(statement)


def noted(action: Callable[[BaseDatabaseSchemaEditor], None], vendor: str) -> list[str]:
    editor: Any = EngineUnderTest(vendor)
    action(editor)
    statements: list[str] = editor.statements
    return statements


def test_an_engine_without_these_triggers_is_refused_by_name() -> None:
    with pytest.raises(NotSupportedError, match="append-only on oracle"):
        noted(append_only.install, "oracle")


def test_sql_server_gets_a_trigger_and_a_foreign_key_against_truncate_per_table() -> None:
    installed = noted(append_only.install, offline_connection().vendor)
    for table in append_only.TABLES:
        (trigger,) = (
            s for s in installed if s.startswith("CREATE TRIGGER") and f"ON {table} " in s
        )
        assert "INSTEAD OF UPDATE, DELETE" in trigger
        assert f"THROW 51000, N'{append_only.refusal(table)}', 1" in trigger
        (guard,) = (s for s in installed if s.startswith("CREATE TABLE"))
        assert f"REFERENCES {table} (id)" in guard
        assert "CHECK (1 = 0)" in guard


@pytest.mark.parametrize("vendor", ["sqlite", "postgresql", "microsoft"])
def test_everything_that_is_installed_is_removed_again(vendor: str) -> None:
    def names(statements: list[str], verb: str) -> set[tuple[str, str]]:
        words = [s.replace("IF EXISTS ", "").replace("(", " ").split() for s in statements]
        return {(w[1], w[2]) for w in words if w[0] == verb}

    created = names(noted(append_only.install, vendor), "CREATE")
    assert created == names(noted(append_only.remove, vendor), "DROP")


class TestFlush:
    """Two transactional tests in a row: the second finds empty tables, still append-only."""

    @pytest.mark.parametrize("turn", [1, 2])
    def test_the_suite_can_empty_the_tables_and_they_stay_append_only(self, turn: int) -> None:
        assert not AuditEvent.objects.exists()
        assert not ERPChangeEvent.objects.exists()
        event, change = AuditEventFactory.create(), ERPChangeEventFactory.create()
        for row in (event, change):
            with refused(type(row)):
                type(row)._base_manager.update(recorded_at=A_MOMENT)
            with refused(type(row)):
                run(f"DELETE FROM {row._meta.db_table}")


class FlushOfUnittestCasesTest(TransactionTestCase):
    """The same for test cases in Django's own style."""

    def test_first(self) -> None:
        self.leave_an_event()

    def test_second(self) -> None:
        self.leave_an_event()

    def leave_an_event(self) -> None:
        assert not AuditEvent.objects.exists()
        row = AuditEventFactory.create()
        with pytest.raises(DatabaseError):
            AuditEvent._base_manager.filter(pk=row.pk).delete()
