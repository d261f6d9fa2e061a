"""Backup and restore on a PostgreSQL server, with its own programs, in databases of their own."""

from __future__ import annotations

import copy
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import connection as suite_connection
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import IntegrityError
from psycopg import sql
from pytest_django import DjangoDbBlocker

from apps.audit import append_only
from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.ingestion.models import FieldSet
from apps.operations.backups import archive, postgresql
from apps.operations.backups.archive import Backup
from apps.operations.backups.checking import lacks
from apps.operations.backups.errors import BackupError
from apps.operations.backups.making import back_up
from apps.operations.backups.postgresql_tools import Tools, first_error
from apps.operations.tests.own_database import make_history, use_database
from apps.po.models import Supplier

# Not because it uses the suite's database, but so that the suite's turn on PostgreSQL takes it.
pytestmark = pytest.mark.usefixtures("django_db_setup")

_SECRET = "only-for-tests"
_numbers = itertools.count(1)
Rows = dict[str, list[Any]]


@contextmanager
def server() -> Iterator[psycopg.Connection]:
    """The server, outside of any database of ours."""
    given = {key.lower(): suite_connection.settings_dict[key] for key in ("HOST", "PORT", "USER")}
    given["password"] = suite_connection.settings_dict["PASSWORD"]
    known = {key: value for key, value in given.items() if value}
    with psycopg.connect(dbname="postgres", autocommit=True, **known) as connection:
        yield connection


def administer(statement: str) -> None:
    with server() as connection:
        connection.execute(sql.SQL(statement))


@pytest.fixture(scope="session")
def template(django_db_blocker: DjangoDbBlocker) -> Iterator[dict[str, Any]]:
    """The settings of a migrated database with some history, from which others are copied."""
    if suite_connection.vendor != "postgresql":
        pytest.skip("asks a PostgreSQL server (TEST_POSTGRES_URL)")
    name = f"po_tracking_backup_{os.getpid()}"
    settings = copy.deepcopy(connections.settings["default"]) | {"NAME": name}
    administer(f'CREATE DATABASE "{name}"')
    try:
        with django_db_blocker.unblock(), use_database(settings):
            call_command("migrate", verbosity=0)
            make_history()
        yield settings
    finally:
        administer(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def tools(template: dict[str, Any], settings: Any) -> Path:
    """The folder of programs as new as the server; Debian keeps each version's apart."""
    with server() as connection:
        version = connection.info.server_version // 10_000
    known = [Path(f"/usr/lib/postgresql/{version}/bin"), Path(shutil.which("pg_dump") or "").parent]
    folder = next((folder for folder in known if (folder / "pg_dump").exists()), None)
    if folder is None:
        pytest.skip("pg_dump is not installed")
    settings.BACKUP_POSTGRES_BIN = str(folder)
    return folder


@pytest.fixture
def database(
    tools: Path, template: dict[str, Any], django_db_blocker: DjangoDbBlocker
) -> Iterator[BaseDatabaseWrapper]:
    """The application's database."""
    name = f"{template['NAME']}_{next(_numbers)}"
    administer(f'CREATE DATABASE "{name}" TEMPLATE "{template["NAME"]}"')
    try:
        settings = copy.deepcopy(template) | {"NAME": name}
        with django_db_blocker.unblock(), use_database(settings) as connection:
            yield connection
    finally:
        administer(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def backup(database: BaseDatabaseWrapper, tmp_path: Path) -> Backup:
    return back_up(tmp_path / "backups").backup


def restore(backup: Backup, *arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command("restore", str(backup.folder), *arguments, stdout=output, stderr=errors)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, output.getvalue(), errors.getvalue()


def execute(statement: str) -> None:
    with connections["default"].cursor() as cursor:
        cursor.execute(statement)


def rows() -> Rows:
    """Every row of every table, but for the events of restores."""
    found: Rows = {}
    with connections["default"].cursor() as cursor:
        for table in connections["default"].introspection.table_names(cursor):
            cursor.execute(f'SELECT row_to_json("{table}")::text FROM "{table}"')
            found[table] = sorted(
                text for (text,) in cursor.fetchall() if EventType.DATABASE_RESTORED not in text
            )
    return found


# --- destroyed and restored -----------------------------------------------------------------------


def _drop_everything() -> None:
    execute("DROP SCHEMA public CASCADE")
    execute("CREATE SCHEMA public")


def _install_anew() -> None:
    _drop_everything()
    call_command("migrate", verbosity=0)


def _lose_history() -> None:
    execute("DROP TABLE audit_auditevent CASCADE")
    execute("DROP FUNCTION audit_refuse_change CASCADE")


def _update_to_a_newer_version() -> None:
    execute("CREATE TABLE of_tomorrow (line_id bigint REFERENCES po_poline, number serial)")
    execute("INSERT INTO of_tomorrow SELECT id FROM po_poline")
    execute("CREATE VIEW late AS SELECT * FROM of_tomorrow")
    execute("CREATE FUNCTION tomorrow(x int) RETURNS int LANGUAGE sql AS 'SELECT x + 1'")


@pytest.mark.parametrize(
    ("destroy", "arguments"),
    [
        (_drop_everything, []),
        (_install_anew, []),
        (_lose_history, ["--force"]),
        (_update_to_a_newer_version, ["--force"]),
    ],
)
def test_destroyed_and_restored_every_event_is_there_again(
    backup: Backup, destroy: Callable[[], None], arguments: list[str]
) -> None:
    events = list(AuditEvent.objects.order_by("pk").values())
    changes = list(ERPChangeEvent.objects.order_by("pk").values())
    everything = rows()
    assert events
    assert changes
    destroy()
    code, _, errors = restore(backup, *arguments)
    assert (code, errors) == (0, "")
    restored = AuditEvent.objects.exclude(event_type=EventType.DATABASE_RESTORED)
    assert list(restored.order_by("pk").values()) == events
    assert list(ERPChangeEvent.objects.order_by("pk").values()) == changes
    assert rows() == everything
    assert AuditEvent.objects.count() == len(events) + 1, "the restore is an event too"


def test_a_restored_database_is_still_append_only_and_goes_on_counting(backup: Backup) -> None:
    _drop_everything()
    assert restore(backup)[0] == 0
    assert append_only.missing(connections["default"]) == []
    for model in (AuditEvent, ERPChangeEvent):
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            execute(f"TRUNCATE {model._meta.db_table} CASCADE")
    known = Supplier.objects.order_by("-pk").values_list("pk", flat=True)[0]
    assert Supplier.objects.create(code="new").pk == known + 1


def test_the_dump_and_its_manifest_are_of_one_moment(
    database: BaseDatabaseWrapper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Tools.run

    def write_first(tools: Tools, name: str, *arguments: str, **options: Any) -> None:
        if name == "pg_dump":  # the moment is chosen, the dump has not begun
            other = database.copy()
            with closing(other), other.cursor() as cursor:
                cursor.execute("INSERT INTO ingestion_fieldset (digest, fields) VALUES ('x', '{}')")
                cursor.execute("DELETE FROM accounts_user")
                cursor.execute(
                    "INSERT INTO ingestion_ingestionrun SELECT (r).* FROM (SELECT "
                    "jsonb_populate_record(run, jsonb_build_object('id', 99, 'identifier', "
                    "gen_random_uuid())) AS r FROM ingestion_ingestionrun run) made"
                )
        run(tools, name, *arguments, **options)

    before = rows()
    monkeypatch.setattr(Tools, "run", write_first)
    backup = back_up(tmp_path / "backups").backup
    assert FieldSet.objects.exists()
    assert restore(backup, "--force")[0] == 0
    assert rows() == before


# --- how the programs are called ------------------------------------------------------------------


def wrap(tools: Path, folder: Path, name: str, body: str) -> None:
    """A program that is found instead of the real one, which `$real` names."""
    folder.mkdir(exist_ok=True)
    for other in ("pg_dump", "pg_restore", "psql"):
        if not (folder / other).exists():
            (folder / other).symlink_to(tools / other)
    (folder / name).unlink()
    text = (
        f'#!/bin/sh\nreal="{tools / name}"\n'
        f'if [ "$1" = --version ]; then exec "$real" --version; fi\n{body}\n'
    )
    (folder / name).write_text(text, encoding="utf-8")
    (folder / name).chmod(0o755)


def test_no_program_gets_the_password_on_its_command_line(
    database: BaseDatabaseWrapper, tools: Path, tmp_path: Path, settings: Any
) -> None:
    folder, told = tmp_path / "bin", tmp_path / "told"
    for name in ("pg_dump", "pg_restore", "psql"):
        record = f'echo "{name} $*" >> {told}; env | grep ^PG >> {told}; exec "$real" "$@"'
        wrap(tools, folder, name, record)
    settings.BACKUP_POSTGRES_BIN = str(folder)
    database.settings_dict["PASSWORD"] = _SECRET
    database.settings_dict["OPTIONS"] |= {"sslmode": "prefer", "application_name": "po tracking"}
    output = io.StringIO()
    call_command("backup", "--to", str(tmp_path / "backups"), stdout=output)
    (made,) = (tmp_path / "backups").iterdir()
    code, printed, errors = restore(archive.read(made), "--force")
    assert code == 0, errors
    lines = told.read_text(encoding="utf-8").splitlines()
    called = [line for line in lines if line.startswith(("pg_", "psql"))]
    assert [line.split()[0] for line in called] == ["pg_dump", "pg_restore", "psql", "pg_restore"]
    manifest = (made / "manifest.json").read_text(encoding="utf-8")
    for text in (*called, output.getvalue(), printed, manifest):
        assert _SECRET not in text
    assert lines.count(f"PGPASSWORD={_SECRET}") == 4
    assert lines.count("PGSSLMODE=prefer") == 4
    assert lines.count("PGAPPNAME=po tracking") == 4


def test_the_role_that_the_application_takes_on_is_taken_on_by_the_programs(
    database: BaseDatabaseWrapper, tools: Path, tmp_path: Path, settings: Any
) -> None:
    user = database.get_connection_params()["user"]
    database.close()
    database.settings_dict["OPTIONS"]["assume_role"] = user
    told = tmp_path / "told"
    wrap(tools, tmp_path / "bin", "pg_dump", f'echo "$*" > {told}; exec "$real" "$@"')
    wrap(tools, tmp_path / "bin", "psql", f'tee {told}.psql | "$real" "$@"')
    settings.BACKUP_POSTGRES_BIN = str(tmp_path / "bin")
    backup = back_up(tmp_path / "backups").backup
    assert f"--role={user}" in told.read_text(encoding="utf-8").split()
    code, _, errors = restore(backup, "--force")
    assert code == 0, errors
    assert f'SET ROLE "{user}";' in Path(f"{told}.psql").read_text(encoding="utf-8")


def test_a_secret_that_only_a_command_line_could_carry_is_refused(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    database.settings_dict["OPTIONS"]["sslpassword"] = _SECRET
    with pytest.raises(BackupError, match="sslpassword") as caught:
        back_up(tmp_path / "backups")
    assert _SECRET not in caught.value.message + caught.value.remedy


def test_missing_programs_are_told_with_how_to_install_them(
    database: BaseDatabaseWrapper, tmp_path: Path, settings: Any
) -> None:
    settings.BACKUP_POSTGRES_BIN = str(tmp_path)
    with pytest.raises(BackupError, match="pg_dump was not found in") as caught:
        back_up(tmp_path / "backups")
    assert "postgresql-client" in caught.value.remedy
    assert "Command Line Tools" in caught.value.remedy
    assert list((tmp_path / "backups").iterdir()) == []


def test_programs_older_than_the_server_are_refused(
    database: BaseDatabaseWrapper, tmp_path: Path, settings: Any
) -> None:
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "pg_dump"
    old.write_text('#!/bin/sh\necho "pg_dump (PostgreSQL) 9.6.24"\n', encoding="utf-8")
    old.chmod(0o755)
    settings.BACKUP_POSTGRES_BIN = str(tmp_path / "bin")
    with pytest.raises(BackupError, match="of version 9, older than the server's"):
        back_up(tmp_path / "backups")


def test_what_pg_dump_says_is_told_and_nothing_is_left(
    database: BaseDatabaseWrapper, tools: Path, tmp_path: Path, settings: Any
) -> None:
    said = "pg_dump: error: could not write to file: No space left on device"
    wrap(tools, tmp_path / "bin", "pg_dump", f"echo '{said}' >&2; exit 1")
    settings.BACKUP_POSTGRES_BIN = str(tmp_path / "bin")
    with pytest.raises(BackupError, match="could not write to file: No space left") as caught:
        back_up(tmp_path / "backups")
    assert "make room" in caught.value.remedy
    assert list((tmp_path / "backups").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", ""),
        ("psql:<stdin>:12: ERROR:  relation is there\nDETAIL: more", "relation is there"),
        ("NOTICE: x\npg_dump: error: no such role.", "no such role"),
        ("something else", "something else"),
    ],
)
def test_of_all_that_a_program_says_the_first_error_is_told(words: str, expected: str) -> None:
    assert first_error(words) == expected


# --- asked beforehand ----------------------------------------------------------------------------


def test_where_programs_and_rights_are_there_nothing_is_missing(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    assert lacks(tmp_path / "backups") == []
    assert not (tmp_path / "backups").exists()


def test_each_program_that_is_missing_or_too_old_is_told(
    database: BaseDatabaseWrapper, tmp_path: Path, settings: Any
) -> None:
    old = tmp_path / "pg_restore"
    old.write_text('#!/bin/sh\necho "pg_restore (PostgreSQL) 9.6.24"\n', encoding="utf-8")
    old.chmod(0o755)
    settings.BACKUP_POSTGRES_BIN = str(tmp_path)
    told = [error.message for error in lacks(tmp_path / "backups")]
    assert [message.split()[2] for message in (told[0], told[2])] == ["pg_dump", "psql"]
    assert "of version 9, older than the server's" in told[1]
    assert len(told) == 3


def test_a_login_that_could_not_replace_everything_is_told_whose_it_is(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    role = f"weak_{database.settings_dict['NAME']}"
    execute(f"CREATE ROLE {role} LOGIN")
    try:
        execute(f"GRANT USAGE ON SCHEMA public TO {role}")
        execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
        execute(f"CREATE TABLE of_its_own (x int); ALTER TABLE of_its_own OWNER TO {role}")
        database.close()
        database.settings_dict["OPTIONS"]["assume_role"] = role
        (error,) = lacks(tmp_path)
    finally:
        database.close()
        del database.settings_dict["OPTIONS"]["assume_role"]
        execute(f"DROP OWNED BY {role}")
        execute(f"DROP ROLE {role}")
    assert "could not restore into the schema public" in error.message
    assert "may not make tables" in error.message
    assert "po_poline" in error.message
    assert "of_its_own" not in error.message
    assert "OWNER TO" in error.remedy


def test_an_instance_that_may_only_read_could_not_restore(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    database.close()
    database.settings_dict["OPTIONS"]["options"] = "-c default_transaction_read_only=on"
    (error,) = lacks(tmp_path)
    assert "may only read its database" in error.message


# --- refused, and nothing changed -----------------------------------------------------------------


def refused(backup: Backup, code: int, *words: str, force: bool = True) -> None:
    before = rows()
    ended, printed, errors = restore(backup, *(["--force"] if force else []))
    assert (ended, printed) == (code, ""), errors
    assert all(word in errors for word in words), errors
    connections["default"].close()
    assert rows() == before


@pytest.fixture
def worked_on(backup: Backup) -> Backup:
    """The database has gone on since the backup."""
    Supplier.objects.create(code="after the backup")
    return backup


def test_a_database_that_holds_something_is_not_replaced_unless_told(worked_on: Backup) -> None:
    refused(worked_on, 2, "not empty", "--force", force=False)


def test_one_row_of_anybody_is_something(backup: Backup) -> None:
    _install_anew()
    execute("CREATE TABLE of_somebody_else AS SELECT 1 AS x")
    refused(backup, 2, "of_somebody_else (1 rows)", force=False)


def test_a_dump_that_ends_too_soon_changes_nothing(worked_on: Backup) -> None:
    content = worked_on.data.read_bytes()
    worked_on.data.write_bytes(content[: len(content) * 2 // 3])
    refused(worked_on, 1, "damaged")
    size, checksum = archive.sized(worked_on.data)
    path = worked_on.folder / "manifest.json"
    told = json.loads(path.read_text(encoding="utf-8")) | {"bytes": size, "sha256": checksum}
    path.write_text(json.dumps(told), encoding="utf-8")
    refused(worked_on, 1, "pg_restore failed")


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("pg_restore", '"$real" "$@" | head -c 30000; exit 1', "pg_restore"),
        ("pg_restore", '"$real" "$@" | head -c 30000', "cannot be restored"),
        ("pg_restore", '"$real" "$@" | grep -v 深圳', "4 change_events of the backup did not"),
        ("psql", 'head -c 30000 | "$real" "$@"; exit 3', "cannot be restored"),
        ("psql", "kill -9 $$", "psql ended with -9"),
    ],
)
def test_a_program_that_fails_on_the_way_changes_nothing(
    worked_on: Backup, tools: Path, tmp_path: Path, settings: Any, name: str, body: str, words: str
) -> None:
    wrap(tools, tmp_path / "bin", name, body)
    settings.BACKUP_POSTGRES_BIN = str(tmp_path / "bin")
    refused(worked_on, 1, words)


def test_a_restore_that_is_killed_before_its_commit_changes_nothing(
    worked_on: Backup, database: BaseDatabaseWrapper, tools: Path, tmp_path: Path
) -> None:
    wrap(tools, tmp_path / "bin", "pg_restore", '"$real" "$@"; kill -9 $PPID')
    before = rows()
    given = database.settings_dict
    url = f"postgres://{given['USER']}:{given['PASSWORD']}@/{given['HOST']}/{given['NAME']}"
    environment = os.environ | {
        "DATABASE_URL": url if given["HOST"].startswith("/") else url.replace("@/", "@"),
        "BACKUP_POSTGRES_BIN": str(tmp_path / "bin"),
    }
    ended = subprocess.run(
        [sys.executable, "manage.py", "restore", "--force", str(worked_on.folder)],
        cwd=django_settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr
    assert rows() == before


def test_somebody_elses_lock_is_waited_for_and_then_told(
    worked_on: Backup, database: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_LOCK_TIMEOUT_SECONDS", 1)
    other = database.copy()
    try:
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute("SELECT * FROM po_poline")
        refused(worked_on, 1, "lock timeout", "stop PO Tracking's services")
    finally:
        other.rollback()
        other.close()


def test_an_instance_that_may_only_read_is_not_restored(
    worked_on: Backup, database: BaseDatabaseWrapper
) -> None:
    database.close()
    database.settings_dict["OPTIONS"]["options"] = "-c default_transaction_read_only=on"
    refused(worked_on, 1, "may only read its database")


def test_an_instance_that_may_only_read_can_be_backed_up(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    database.close()
    database.settings_dict["OPTIONS"]["options"] = "-c default_transaction_read_only=on"
    assert back_up(tmp_path / "backups").backup.manifest.rows["audit_events"] == 4
