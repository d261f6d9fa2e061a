"""The database tells which of the guards of history are in force."""

import pytest
from django.db import NotSupportedError, connection

from apps.audit import append_only
from tests.append_only import append_only_lifted

pytestmark = pytest.mark.django_db


def test_a_migrated_database_has_all_of_them() -> None:
    assert append_only.missing(connection) == []


def test_lifted_ones_are_named_for_both_tables() -> None:
    with append_only_lifted():
        gone = append_only.missing(connection)
    assert {name.partition("_no_")[0].removesuffix("_append_only") for name in gone} == set(
        append_only.TABLES
    )
    assert append_only.missing(connection) == []


def test_a_single_one_is_named() -> None:
    if connection.vendor != "sqlite":
        pytest.skip("SQLite has one trigger per kind of change")
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER audit_auditevent_no_replace")
    assert append_only.missing(connection) == ["audit_auditevent_no_replace"]


@pytest.mark.parametrize("how", ["DISABLE", "ENABLE REPLICA"])
def test_one_that_is_there_but_does_not_fire_is_missing(how: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite cannot switch a trigger off")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE audit_auditevent {how} TRIGGER audit_auditevent_append_only")
    assert append_only.missing(connection) == ["audit_auditevent_append_only"]


def test_an_engine_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "oracle")
    with pytest.raises(NotSupportedError, match="append-only on oracle"):
        append_only.missing(connection)
