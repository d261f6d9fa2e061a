"""restore brings everything back, into a database that may be replaced, or changes nothing."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import IntegrityError
from pytest_django import DjangoDbBlocker

from apps.audit import append_only
from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionLease
from apps.operations.backups import archive, sqlite
from apps.operations.backups.archive import Backup
from apps.operations.backups.making import back_up
from apps.operations.tests.own_database import (
    migrated,
    rows_of,
    sqlite_settings,
    use_database,
    with_history,
    without_restores,
)
from apps.po.models import Supplier
from po_tracking.databases import application_database
from tests.factories import A_MOMENT, AuditEventFactory


@pytest.fixture
def database(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseDatabaseWrapper]:
    """The application's database, with some history."""
    with django_db_blocker.unblock():
        shutil.copy(with_history(), tmp_path / "po.sqlite3")
        with use_database(sqlite_settings(tmp_path / "po.sqlite3")) as connection:
            yield connection


@pytest.fixture
def file(database: BaseDatabaseWrapper) -> Path:
    return Path(database.settings_dict["NAME"])


@pytest.fixture
def backup(database: BaseDatabaseWrapper, tmp_path: Path) -> Backup:
    return back_up(tmp_path / "backups").backup


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command("restore", *arguments, stdout=output, stderr=errors)
    except SystemExit as end:
        code = int(end.code or 0)
    connections["default"].close()
    return code, output.getvalue(), errors.getvalue()


def change(backup: Backup, **values: Any) -> None:
    """Rewrites the manifest."""
    path = backup.folder / "manifest.json"
    told = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps(told), encoding="utf-8")


# --- destroyed and restored -----------------------------------------------------------------------


def _delete(file: Path) -> None:
    file.unlink()


def _delete_but_for_the_log(file: Path) -> None:
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE left_in_the_log (x)")
        other.commit()
        log = Path(f"{file}-wal").read_bytes()
    file.unlink()
    Path(f"{file}-wal").write_bytes(log)


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _install_anew(file: Path) -> None:
    shutil.copy(migrated(), file)


def _overwrite(file: Path) -> None:
    file.write_bytes(b"no database at all " * 1_000)


def _damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[100:50_000] = b"\xff" * 49_900
    file.write_bytes(content)


def _drop(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE audit_auditevent")
        connection.execute("DROP TABLE po_poline")
        connection.commit()


@pytest.mark.parametrize(
    ("destroy", "arguments"),
    [
        (_delete, []),
        (_delete_but_for_the_log, []),
        (_empty, []),
        (_install_anew, []),
        (_overwrite, ["--force"]),
        (_damage, ["--force"]),
        (_drop, ["--force"]),
    ],
)
def test_destroyed_and_restored_every_event_is_there_again(
    database: BaseDatabaseWrapper,
    file: Path,
    backup: Backup,
    destroy: Callable[[Path], None],
    arguments: list[str],
) -> None:
    events = list(AuditEvent.objects.order_by("pk").values())
    changes = list(ERPChangeEvent.objects.order_by("pk").values())
    everything = without_restores(rows_of(file))
    assert events
    assert changes
    database.close()
    destroy(file)
    code, _, errors = command(str(backup.folder), *arguments)
    assert (code, errors) == (0, "")
    restored = AuditEvent.objects.exclude(event_type=EventType.DATABASE_RESTORED)
    assert list(restored.order_by("pk").values()) == events
    assert list(ERPChangeEvent.objects.order_by("pk").values()) == changes
    assert without_restores(rows_of(file)) == everything


def test_what_the_file_was_stays_beside_it_when_it_was_no_database(
    file: Path, backup: Backup, database: BaseDatabaseWrapper
) -> None:
    database.close()
    file.write_bytes(b"no database at all " * 1_000)
    assert command(str(backup.folder), "--force")[0] == 0
    (aside,) = file.parent.glob("po.sqlite3.damaged-*")
    assert aside.read_bytes() == b"no database at all " * 1_000


def test_a_restored_database_is_still_append_only(file: Path, backup: Backup) -> None:
    file.unlink()
    assert command(str(backup.folder))[0] == 0
    for model in (AuditEvent, ERPChangeEvent):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            model._base_manager.update(recorded_at=A_MOMENT)
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            model._base_manager.all().delete()


def test_a_backup_that_had_lost_its_triggers_gets_them_again_and_that_is_told(
    database: BaseDatabaseWrapper, file: Path, tmp_path: Path
) -> None:
    with database.cursor() as cursor:
        cursor.execute("DROP TRIGGER audit_auditevent_no_delete")
    backup = back_up(tmp_path / "backups").backup
    file.unlink()
    code, printed, _ = command(str(backup.folder), "--json")
    assert code == 0
    (warning,) = json.loads(printed)["warnings"]
    assert "audit_auditevent_no_delete" in warning
    assert append_only.missing(database) == []


def test_whoever_has_the_file_open_sees_what_was_restored(
    database: BaseDatabaseWrapper, file: Path, backup: Backup
) -> None:
    with closing(sqlite3.connect(file)) as server:
        count = "SELECT COUNT(*) FROM po_supplier"
        before = server.execute(count).fetchone()
        Supplier.objects.create(code="after the backup")
        assert server.execute(count).fetchone() == (before[0] + 1,)
        assert command(str(backup.folder), "--force")[0] == 0
        assert server.execute(count).fetchone() == before


def test_a_service_that_writes_right_after_the_restore_makes_it_no_failure(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = sqlite.restore

    def then_somebody_works(connection: BaseDatabaseWrapper, restored: Backup) -> None:
        restore(connection, restored)
        AuditEventFactory.create(reason="beside the restore")
        connection.close()

    monkeypatch.setattr(sqlite, "restore", then_somebody_works)
    code, _, errors = command(str(backup.folder), "--force")
    assert (code, errors) == (0, "")
    assert AuditEvent.objects.filter(reason="beside the restore").exists()


def test_rows_that_are_missing_afterwards_are_told(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = sqlite.restore

    def then_lines_are_lost(connection: BaseDatabaseWrapper, restored: Backup) -> None:
        restore(connection, restored)
        with closing(sqlite3.connect(connection.settings_dict["NAME"])) as other:
            other.execute("DELETE FROM po_poline WHERE id = (SELECT MAX(id) FROM po_poline)")
            other.commit()

    monkeypatch.setattr(sqlite, "restore", then_lines_are_lost)
    code, _, errors = command(str(backup.folder), "--force")
    assert code == 1
    assert "does not hold what the backup holds: lines 3 instead of 4" in errors


# --- what is told about it ------------------------------------------------------------------------


def test_the_restore_itself_is_an_event_of_who_did_it_and_what_went(
    backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "the administrator")
    code, _, _ = command(str(backup.folder), "--force")
    assert code == 0
    event = AuditEvent.objects.get(event_type=EventType.DATABASE_RESTORED)
    assert (event.actor_name, event.source) == ("the administrator", "command")
    assert event.data["backup"] == backup.folder.name
    assert event.data["rows"] == backup.manifest.rows
    assert event.data["replaced"]["audit_auditevent"] == 4


def test_the_answer_in_json_tells_what_was_restored_and_replaced(
    file: Path, backup: Backup
) -> None:
    code, printed, _ = command(str(backup.folder), "--force", "--json")
    answer = json.loads(printed)
    assert code == 0
    assert set(answer) == {
        "path", "made_at", "engine", "product_version", "seconds", "rows", "replaced",
        "must_migrate", "warnings",
    }  # fmt: skip
    assert answer["rows"] == {"lines": 4, "runs": 1, "change_events": 4, "audit_events": 4}
    assert answer["replaced"]["po_poline"] == 4
    assert (answer["must_migrate"], answer["warnings"]) == (False, [])


def test_the_command_says_what_to_do_next(backup: Backup) -> None:
    _, printed, _ = command(str(backup.folder), "--force")
    assert "4 lines, 1 runs, 4 change events, 4 audit events" in printed
    assert "run_ingestion" in printed
    assert "migrate" not in printed


# --- refused, and nothing changed -----------------------------------------------------------------


def refused(file: Path, backup: Backup, code: int, *words: str, force: bool = True) -> None:
    """The restore ends so, with these words, and the database is as it was."""
    connections["default"].close()
    before = rows_of(file)
    arguments = [str(backup.folder), *(["--force"] if force else [])]
    ended, printed, errors = command(*arguments)
    assert (ended, printed) == (code, ""), errors
    assert all(word in errors for word in words), errors
    assert len(errors.strip().splitlines()) == 2, "one line says what happened, one what to do"
    assert rows_of(file) == before
    status = {1: "failed", 2: "usage", 4: "active"}[code]
    assert json.loads(command(*arguments, "--json")[1])["status"] == status
    assert rows_of(file) == before


def test_a_database_that_holds_something_is_not_replaced_unless_told(
    file: Path, backup: Backup
) -> None:
    refused(file, backup, 2, "not empty", "audit_auditevent (4 rows)", "--force", force=False)


def test_one_row_of_anybody_is_something(
    file: Path, backup: Backup, database: BaseDatabaseWrapper
) -> None:
    database.close()
    shutil.copy(migrated(), file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE of_somebody_else (x)")
        connection.execute("INSERT INTO of_somebody_else VALUES (1)")
        connection.commit()
    refused(file, backup, 2, "of_somebody_else (1 rows)", force=False)


def test_a_damaged_database_is_not_set_aside_unless_told(
    file: Path, backup: Backup, database: BaseDatabaseWrapper
) -> None:
    database.close()
    file.write_bytes(b"no database at all " * 1_000)
    code, _, errors = command(str(backup.folder))
    assert code == 2
    assert "is damaged" in errors
    assert file.read_bytes() == b"no database at all " * 1_000


def test_a_changed_byte_is_found_by_the_checksum(file: Path, backup: Backup) -> None:
    with backup.data.open("rb+") as data:
        data.seek(-1, 2)
        (last,) = data.read(1)
        data.seek(-1, 2)
        data.write(bytes([last ^ 1]))
    refused(file, backup, 1, "damaged", "checksum differs", "older backup")


def test_a_truncated_file_is_found(file: Path, backup: Backup) -> None:
    with backup.data.open("rb+") as data:
        data.truncate(backup.data.stat().st_size - 4096)
    refused(file, backup, 1, "damaged", "bytes instead of")


def test_a_missing_data_file_is_told(file: Path, backup: Backup) -> None:
    backup.data.unlink()
    refused(file, backup, 1, "data.sqlite3", "cannot be used")


def test_a_damaged_copy_with_the_right_checksum_is_found_too(file: Path, backup: Backup) -> None:
    with backup.data.open("rb+") as data:
        data.seek(8192)
        data.write(b"\xff" * 4096)
    size, checksum = archive.sized(backup.data)
    change(backup, bytes=size, sha256=checksum)
    refused(file, backup, 1, "damaged")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rows": {"lines": 5, "runs": 1, "change_events": 4, "audit_events": 4}}, "lines 4"),
        ({"rows": {"lines": 4, "runs": 1, "change_events": 4, "audit_events": 3}}, "events 4"),
        ({"migrations": {"audit": "0001_initial"}}, "migrations differ"),
    ],
)
def test_a_copy_that_holds_something_else_than_its_manifest_tells_is_not_restored(
    file: Path, backup: Backup, values: dict[str, Any], words: str
) -> None:
    change(backup, **values)
    refused(file, backup, 1, "damaged", words)


def test_a_backup_of_another_engine_is_refused(file: Path, backup: Backup) -> None:
    change(backup, engine="postgresql", server="PostgreSQL 15.6")
    refused(file, backup, 1, "PostgreSQL 15.6", "another engine (sqlite)")


def test_a_backup_of_a_newer_version_is_refused_by_its_migrations(
    file: Path, backup: Backup
) -> None:
    migrations = backup.manifest.migrations | {"po": "0042_from_tomorrow"}
    change(backup, migrations=migrations, product_version="9.1.0")
    refused(file, backup, 1, "version 9.1.0", "newer than this one", "po.0042_from_tomorrow")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("{}", "not PO Tracking's"),
        ("[]", "not PO Tracking's"),
        ("not JSON", "cannot be used"),
        ('{"product": "PO Tracking", "format": 2}', "format 2"),
        ('{"product": "PO Tracking", "format": 1}', "lacks product_version"),
    ],
)
def test_a_manifest_that_cannot_be_understood_is_refused(
    file: Path, backup: Backup, manifest: str, words: str
) -> None:
    (backup.folder / "manifest.json").write_text(manifest, encoding="utf-8")
    refused(file, backup, 1, words)


def test_a_folder_without_manifest_is_no_backup(file: Path, backup: Backup) -> None:
    (backup.folder / "manifest.json").unlink()
    refused(file, backup, 1, "no backup of PO Tracking", "manifest.json")


def test_a_backup_that_was_never_finished_is_refused(file: Path, backup: Backup) -> None:
    partial = backup.folder.rename(f"{backup.folder}.partial")
    refused(file, Backup(Path(partial), backup.manifest), 1, "never finished")


def test_nothing_is_restored_under_a_running_ingestion(file: Path, backup: Backup) -> None:
    with transaction.atomic():
        Lease.acquire()  # by this very process, so it is alive
    refused(file, backup, 4, "ingestion run is active")


def test_a_run_that_died_does_not_stand_in_the_way(file: Path, backup: Backup) -> None:
    with transaction.atomic():
        Lease.acquire()
    IngestionLease.objects.update(process_started=1.0)  # of another process, long gone
    assert command(str(backup.folder), "--force")[0] == 0


def test_another_writer_is_waited_for_and_then_told(
    file: Path, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_SECONDS_TO_WAIT", 0.2)
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        refused(file, backup, 1, "written by another process", "stop PO Tracking's services")


def test_an_instance_that_may_only_read_is_not_restored(
    file: Path, backup: Backup, database: BaseDatabaseWrapper
) -> None:
    database.close()
    with use_database(application_database(f"sqlite:///{file.as_posix()}", read_only=True)):
        refused(file, backup, 1, "read-only")


def test_without_enough_room_nothing_is_begun(
    file: Path, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    refused(file, backup, 1, "not enough room")


# --- of an older version --------------------------------------------------------------------------


def test_a_backup_of_an_older_version_is_restored_and_migrated(
    database: BaseDatabaseWrapper, file: Path, tmp_path: Path
) -> None:
    call_command("migrate", "audit", "0002", verbosity=0)
    events = AuditEvent.objects.count()
    backup = back_up(tmp_path / "backups").backup
    call_command("migrate", verbosity=0)
    code, printed, _ = command(str(backup.folder), "--force")
    assert code == 0
    assert "run manage.py migrate now" in printed
    # Its tables may be others than those this version writes.
    assert AuditEvent.objects.count() == events
    call_command("migrate", verbosity=0)
    assert append_only.missing(database) == []
    assert json.loads(command(str(backup.folder), "--force", "--json")[1])["must_migrate"] is True
