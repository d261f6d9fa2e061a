"""doctor tells what is not in order, and how to cure it."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import sqlglot
from django.core import checks
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import override_settings
from django.utils import timezone
from rich.console import Console

from apps.accounts.models import Role
from apps.audit import append_only
from apps.ingestion.erp import preflight
from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionRun, RunStatus
from apps.ingestion.tests.erp_table import ErpTable
from apps.operations import doctor
from apps.operations.backups import archive
from apps.operations.checks import backups, configuration, database, erp, machine, night
from apps.operations.doctor import Check
from apps.operations.finding import Finding, Status, error, ok, warning
from apps.operations.tests.own_database import use_database
from po_tracking.databases import application_database
from tests.append_only import append_only_lifted
from tests.factories import IngestionRunFactory, UserFactory
from tests.sql_server import is_babelfish

pytestmark = pytest.mark.django_db

GB = 1_000_000_000


def _told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    return [(f.status.value, f"{f.message} {f.remedy}".strip()) for f in findings]


def _one(findings: Iterable[Finding]) -> tuple[str, str]:
    (told,) = _told(findings)
    return told


@pytest.fixture
def run_under(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets the process believe that it runs under these settings."""
    return lambda name: monkeypatch.setenv("DJANGO_SETTINGS_MODULE", f"po_tracking.settings.{name}")


# --- the screen ---------------------------------------------------------------------------------


def _fine() -> list[Finding]:
    return [ok("all is well")]


def _worth_knowing() -> list[Finding]:
    return [warning("getting [red]late[/red]", "Hurry.")]


def _wrong() -> list[Finding]:
    return [error("it rains through", "Mend the roof."), ok("the walls stand")]


def _broken() -> list[Finding]:
    raise KeyError("PWD=hunter2")


def _diagnosed(monkeypatch: pytest.MonkeyPatch, *looks: Callable[[], list[Finding]]) -> Any:
    found = tuple(Check(look.__name__, look) for look in looks)
    monkeypatch.setattr(doctor, "CHECKS", found)
    return doctor.examine()


def _command(*arguments: str) -> tuple[str, int]:
    """What the command prints, and its exit code."""
    output = io.StringIO()
    try:
        call_command("doctor", *arguments, stdout=output)
    except SystemExit as end:
        return output.getvalue(), int(str(end.code))
    return output.getvalue(), 0


@pytest.mark.parametrize(
    ("looks", "plain", "strict"),
    [
        ([_fine], 0, 0),
        ([_fine, _worth_knowing], 0, 3),
        ([_worth_knowing, _wrong, _fine], 1, 1),
        ([_broken], 1, 1),
    ],
)
def test_the_exit_code_is_for_monitors(
    monkeypatch: pytest.MonkeyPatch,
    looks: list[Callable[[], list[Finding]]],
    plain: int,
    strict: int,
) -> None:
    _diagnosed(monkeypatch, *looks)
    assert _command()[1] == plain
    assert _command("--json")[1] == plain
    assert _command("--strict")[1] == strict


def test_the_json_has_a_status_and_a_line_per_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    _diagnosed(monkeypatch, _fine, _wrong)
    told = json.loads(_command("--json")[0])
    assert told["status"] == "error"
    for line in told["checks"]:
        assert line.pop("seconds") >= 0
    assert told["checks"] == [
        {"name": "_fine", "status": "ok", "message": "all is well", "remedy": ""},
        {
            "name": "_wrong",
            "status": "error",
            "message": "it rains through",
            "remedy": "Mend the roof.",
        },
        {"name": "_wrong", "status": "ok", "message": "the walls stand", "remedy": ""},
    ]


def test_off_a_terminal_each_finding_is_one_line_that_is_never_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = "x" * 500
    _diagnosed(monkeypatch, _worth_knowing, lambda: [error(long, "Make it shorter.")])
    screen = _command()[0].splitlines()
    assert screen[0].split(maxsplit=2) == ["warning", "_worth_knowing", "getting [red]late[/red]"]
    assert screen[1].strip() == "-> Hurry."
    assert long in screen[2]
    assert screen[-1] == "1 error(s), 1 warning(s)."


@pytest.mark.parametrize("width", [60, 120])
def test_on_a_terminal_it_fits(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    diagnosis = _diagnosed(monkeypatch, _fine, lambda: [warning("word " * 60, "Hurry. " * 30)])
    output = io.StringIO()
    terminal = Console(
        file=output, width=width, force_terminal=True, color_system=None,
        highlight=False, markup=False,
    )  # fmt: skip
    diagnosis.print_to(terminal)
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "warning" in output.getvalue()


def test_if_nothing_is_wrong_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    _diagnosed(monkeypatch, _fine)
    assert _command()[0].splitlines()[-1] == "Everything is in order."


def test_a_check_that_breaks_is_an_error_and_the_others_still_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    diagnosis = _diagnosed(monkeypatch, _broken, _fine)
    broken, fine = diagnosis.checks
    assert broken.status is Status.ERROR
    assert "The check itself failed: KeyError" in broken.message
    assert "application.log" in broken.remedy
    assert fine.status is Status.OK


def test_no_finding_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    diagnosis = _diagnosed(
        monkeypatch, _broken, lambda: [error("postgres://po:hunter2@db", "PWD=hunter2")]
    )
    assert "hunter2" not in diagnosis.as_json()


def test_what_means_nothing_without_an_earlier_check_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[str] = []

    def look_further() -> list[Finding]:
        looked.append("further")
        return _fine()

    found = (
        Check("first", _wrong),
        Check("second", look_further, needs="first"),
        Check("third", look_further, needs="second"),
        Check("apart", look_further),
    )
    monkeypatch.setattr(doctor, "CHECKS", found)
    lines = {line.name: line for line in doctor.examine().checks}
    assert looked == ["further"]
    assert 'the error under "first"' in lines["second"].message
    assert lines["third"].status is Status.ERROR
    assert lines["apart"].status is Status.OK


def test_every_check_that_is_needed_stands_before_those_that_need_it() -> None:
    names = [check.name for check in doctor.CHECKS]
    for position, check in enumerate(doctor.CHECKS):
        assert not check.needs or check.needs in names[:position]


def test_only_the_checks_that_are_asked_for_look(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (Check("roof", _wrong), Check("walls", _broken), Check("floor", _fine, needs="roof"))
    monkeypatch.setattr(doctor, "CHECKS", found)
    told = [(line.name, line.status) for line in doctor.examine("roof", "floor").checks]
    assert told == [("roof", "error"), ("roof", "ok"), ("floor", "error")]


# --- the whole ----------------------------------------------------------------------------------


def test_an_installation_in_order_has_no_error(erp_side: ErpTable, tmp_path: Path) -> None:
    UserFactory.create(role=Role.ADMIN)
    IngestionRunFactory.create(finished_at=timezone.now())
    with erp_side.connected(), override_settings(LOG_DIR=tmp_path):
        screen, code = _command()
    assert code == 0, screen


@pytest.fixture
def erp_side(tmp_path: Path) -> ErpTable:
    table = ErpTable(tmp_path / "erp.sqlite3")
    table.add("A1")
    return table


def test_without_a_database_the_rest_is_still_looked_at(
    monkeypatch: pytest.MonkeyPatch, erp_side: ErpTable
) -> None:
    def refuse() -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(connection, "ensure_connection", refuse)
    monkeypatch.setattr(connection, "cursor", refuse)
    with erp_side.connected():
        lines = {line.name: line for line in doctor.examine().checks}
    assert "connection refused" in lines["database"].message
    assert "check DATABASE_URL" in lines["database"].remedy
    for name in ("migrations", "append-only", "size", "engine", "users", "last run", "clock"):
        assert "Not looked at" in lines[name].message
    assert lines["ERP"].status is Status.OK
    assert lines["log folder"].status is Status.OK


# --- settings -----------------------------------------------------------------------------------


def test_development_settings_are_a_warning_and_need_no_deployment_check(
    run_under: Callable[[str], None],
) -> None:
    run_under("development")
    status, told = _one(configuration.look_at_settings())
    assert status == "warning"
    assert "--settings=po_tracking.settings.production" in told
    assert _told(configuration.look_at_deployment()) == []


@pytest.mark.parametrize(
    ("wrong", "status", "what"),
    [
        ({}, "ok", "po_tracking.settings.production"),
        ({"DEBUG": True}, "error", "DEBUG is on"),
        ({"SECRET_KEY": "short"}, "error", "SECRET_KEY is shorter"),
        ({"ALLOWED_HOSTS": ["*"]}, "warning", "ALLOWED_HOSTS has a *"),
    ],
)
def test_production_settings_are_looked_through(
    run_under: Callable[[str], None], wrong: dict[str, Any], status: str, what: str
) -> None:
    run_under("production")
    good = {"DEBUG": False, "SECRET_KEY": "k" * 60, "ALLOWED_HOSTS": ["po.example.com"]}
    with override_settings(**{**good, **wrong}):
        found = _one(configuration.look_at_settings())
    assert found[0] == status
    assert what in found[1]


def test_what_djangos_deployment_check_says_is_told_with_its_hint(
    run_under: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_under("production")
    said = [
        checks.Warning("A header\nis missing.", hint="Set it.", id="security.W001"),
        checks.Error("It is open.", id="security.E001"),
        checks.Info("Nice.", id="security.I001"),
    ]
    monkeypatch.setattr(checks, "run_checks", lambda **_: said)
    assert _told(configuration.look_at_deployment()) == [
        ("warning", "security.W001: A header is missing. Set it."),
        ("error", "security.E001: It is open. See the Django documentation of this check."),
    ]
    said.clear()
    assert _one(configuration.look_at_deployment())[0] == "ok"


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"BUSINESS_TIME_ZONE": "Europe/Nowhere"}, "BUSINESS_TIME_ZONE is 'Europe/Nowhere'"),
        ({"BUSINESS_HOLIDAYS": ["25.12.2026"]}, "BUSINESS_HOLIDAYS holds '25.12.2026'"),
    ],
)
def test_a_wrong_time_zone_or_holiday_is_an_error(wrong: dict[str, Any], what: str) -> None:
    with override_settings(**wrong):
        status, told = _one(configuration.look_at_calendar())
    assert status == "error"
    assert what in told


# --- the application's database -----------------------------------------------------------------


@pytest.mark.skipif(connection.vendor != "sqlite", reason="looks at SQLite's files")
def test_the_size_of_an_sqlite_database_counts_what_lies_beside_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "po.sqlite3"
    file.write_bytes(b"x" * 2_000_000)
    (tmp_path / "po.sqlite3-wal").write_bytes(b"x" * 500_000)
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setitem(connection.settings_dict, "NAME", str(file))
    assert _one(database.look_at_size()) == ("ok", "2.5 MB")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="looks at SQLite's files")
def test_the_size_of_a_database_in_memory_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setitem(connection.settings_dict, "NAME", ":memory:")
    assert _one(database.look_at_size()) == ("ok", "not known")


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite is asked for its file")
def test_the_server_tells_the_size_of_the_database() -> None:
    status, told = _one(database.look_at_size())
    assert status == "ok"
    if is_babelfish(connection) and told == "not known":
        pytest.skip("Babelfish does not tell the sizes of a database's files")
    assert float(told.removesuffix(" MB").replace(",", "")) > 1


def test_a_migration_that_was_not_applied_is_an_error() -> None:
    [last] = MigrationLoader(connection).graph.leaf_nodes("audit")
    MigrationRecorder(connection).record_unapplied(*last)
    status, told = _one(database.look_at_migrations())
    assert status == "error"
    assert "1 migration(s)" in told
    assert "Run manage.py migrate" in told


def test_a_migration_of_a_newer_version_is_an_error() -> None:
    MigrationRecorder(connection).record_applied("po", "0999_of_next_year")
    status, told = _one(database.look_at_migrations())
    assert status == "error"
    assert "po.0999_of_next_year" in told


def test_a_migration_of_an_app_that_is_no_longer_there_is_nobodys_trouble() -> None:
    MigrationRecorder(connection).record_applied("an_old_app", "0001_initial")
    assert _one(database.look_at_migrations())[0] == "ok"


def test_a_history_that_can_be_changed_is_an_error() -> None:
    assert _one(database.look_at_history())[0] == "ok"
    with append_only_lifted():
        status, told = _one(database.look_at_history())
    assert status == "error"
    assert "audit_auditevent" in told


def test_an_sqlite_file_without_wal_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_row", lambda *_: ("delete",))
    monkeypatch.setattr(database, "_quick_check", lambda *_: ([], 0.1))
    (status, told), last = _told(database._look_at_sqlite(connection))
    assert status == "warning"
    assert "journal mode is delete" in told
    assert last[0] == "ok"


def test_a_damaged_sqlite_file_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_row", lambda *_: ("wal",))
    monkeypatch.setattr(database, "_quick_check", lambda *_: (["page 7 is missing"], 0.1))
    status, told = _one(database._look_at_sqlite(connection))
    assert status == "error"
    assert "page 7 is missing" in told
    assert "restore the last backup" in told


def test_looking_for_damage_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite is looked through")
    assert database._quick_check(connection)[0] == []
    monkeypatch.setattr(database, "_QUICK_CHECK_SECONDS", -1)
    monkeypatch.setattr(database, "_STEPS_BETWEEN_QUESTIONS", 1)
    damage, seconds = database._quick_check(connection)
    assert damage == []
    assert seconds < 5
    assert "first" in _one(database._look_at_sqlite(connection))[1]
    with connection.cursor() as cursor:  # the connection is as usable as before
        cursor.execute("SELECT COUNT(*) FROM po_poline")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (("po", True, 1), [("ok", "row versioning is on")]),
        (("po", False, 1), [("error", "READ_COMMITTED_SNAPSHOT")]),
        (("po", True, 0), [("error", "ALLOW_SNAPSHOT_ISOLATION")]),
        (("po", False, 0), [("error", "READ_COMMITTED"), ("error", "ALLOW_SNAP")]),
    ],
)
def test_sql_server_needs_row_versioning(
    monkeypatch: pytest.MonkeyPatch, row: tuple[Any, ...], expected: list[tuple[str, str]]
) -> None:
    monkeypatch.setattr(database, "_row", lambda *_: row)
    found = _told(database._look_at_sql_server(connection))
    assert [status for status, _ in found] == [status for status, _ in expected]
    for (_, told), (_, what) in zip(found, expected, strict=True):
        assert what in told


@pytest.mark.parametrize("folder", ["", "not there"])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_database_file_that_is_not_there_is_told_and_not_made(
    tmp_path: Path, erp_side: ErpTable, folder: str, read_only: bool
) -> None:
    file = tmp_path / folder / "po.sqlite3"
    url = f"sqlite:///{file.as_posix()}"
    with erp_side.connected():
        before = sorted(tmp_path.rglob("*"))
        with use_database(application_database(url, read_only=read_only)):
            lines = {line.name: line for line in doctor.examine().checks}
    assert lines["database"].status is Status.ERROR
    assert lines["database"].message == f"There is no database file {file}."
    assert "manage.py migrate" in lines["database"].remedy
    assert lines["ERP"].status is Status.OK
    assert sorted(tmp_path.rglob("*")) == before


def test_a_server_that_cannot_store_chinese_names_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(database, "_row", lambda *_: ("LATIN1",))
    assert _one(database._look_at_postgresql(connection))[0] == "error"
    monkeypatch.setattr(database, "_row", lambda *_: ("UTF8",))
    assert _one(database._look_at_postgresql(connection))[0] == "ok"


def test_somebody_must_be_an_administrator() -> None:
    UserFactory.create(role=Role.PLANNER)
    UserFactory.create(role=Role.ADMIN, is_active=False)
    assert _one(database.look_at_users())[0] == "warning"
    UserFactory.create(role=Role.ADMIN)
    assert _one(database.look_at_users()) == ("ok", "1 active administrator(s)")


def test_the_file_of_a_read_only_database_is_found(tmp_path: Path) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("a server has no file")
    file = tmp_path / "a replica.sqlite3"
    file.touch()
    named = connection.copy()
    named.settings_dict["NAME"] = f"file:{str(file).replace(' ', '%20')}?mode=ro"
    assert database.sqlite_file(named) == file


# --- the ERP ------------------------------------------------------------------------------------


def test_without_an_erp_it_depends_on_the_instance(run_under: Callable[[str], None]) -> None:
    run_under("production_eu")
    assert _one(erp.look_at_erp())[0] == "ok"
    assert _one(erp.look_at_mapping())[0] == "ok"
    run_under("production")
    assert "Set ERP_DATABASE_URL" in _one(erp.look_at_erp())[1]
    with override_settings(ERP_MAPPING_FILE=""):
        assert "Set ERP_MAPPING_FILE" in _one(erp.look_at_mapping())[1]


def test_an_erp_that_fits_is_in_order(erp_side: ErpTable) -> None:
    with erp_side.connected():
        assert _one(erp.look_at_erp())[0] == "ok"
        assert _one(erp.look_at_mapping())[0] == "ok"


def test_every_column_that_the_erp_lacks_is_an_error_of_its_own(erp_side: ErpTable) -> None:
    erp_side.fields |= {"item": "famly", "sku": "skuu"}
    with erp_side.connected():
        found = _told(erp.look_at_erp())
    assert [status for status, _ in found] == ["error", "error"]
    assert any('"famly"' in told for _, told in found)


def test_every_problem_of_the_mapping_file_is_an_error_of_its_own(erp_side: ErpTable) -> None:
    erp_side.fields["promisd_date"] = "promised_date"
    erp_side.active["lookback_days"] = -1
    with erp_side.connected():
        found = _told(erp.look_at_mapping())
    assert [status for status, _ in found] == ["error", "error"]
    assert any("promisd_date" in told for _, told in found)


def test_an_erp_that_is_not_there_is_an_error_with_its_cure(
    erp_side: ErpTable, tmp_path: Path
) -> None:
    erp_side.address = tmp_path / "gone.sqlite3"
    with erp_side.connected():
        status, told = _one(erp.look_at_erp())
    assert status == "error"
    assert "Correct the database name in ERP_DATABASE_URL" in told


def test_an_erp_without_row_versioning_is_a_warning(
    erp_side: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "databases_with_moving_reads", lambda *_: ["erp"])
    with erp_side.connected():
        found = _told(erp.look_at_erp())
    assert [status for status, _ in found] == ["warning", "ok"]


# --- the nightly run ----------------------------------------------------------------------------


def _ended(hours_ago: float, **fields: Any) -> IngestionRun:
    return IngestionRunFactory.create(
        finished_at=timezone.now() - timedelta(hours=hours_ago), **fields
    )


_FAILED: dict[str, Any] = {
    "status": RunStatus.FAILED,
    "errors_encountered": [{"stage": "snapshot", "message": "No ERP.", "remedy": "Wake it up."}],
}


def test_before_the_first_run_it_is_a_warning() -> None:
    assert _one(night.look_at_last_run())[0] == "warning"


def test_a_run_within_the_schedule_is_in_order() -> None:
    _ended(25)
    status, told = _one(night.look_at_last_run())
    assert status == "ok"
    assert "25 h ago" in told


def test_a_run_that_is_overdue_is_an_error() -> None:
    _ended(27)
    status, told = _one(night.look_at_last_run())
    assert status == "error"
    assert "one is expected every 26 hours" in told
    with override_settings(INGESTION_EXPECTED_EVERY_HOURS=7 * 24):
        assert _one(night.look_at_last_run())[0] == "ok"


def test_a_partial_run_is_a_warning() -> None:
    _ended(2, status=RunStatus.PARTIAL, rejected_rows=3)
    status, told = _one(night.look_at_last_run())
    assert status == "warning"
    assert "3 row(s) were rejected" in told


def test_a_failed_run_after_the_applied_one_is_an_error_with_its_own_cure() -> None:
    _ended(20)
    failed = _ended(1, **_FAILED)
    applied, newest = _told(night.look_at_last_run())
    assert applied[0] == "ok"
    assert newest == ("error", f"Run {failed.pk} failed: No ERP. Wake it up.")


def test_a_failed_run_before_the_applied_one_is_forgotten() -> None:
    _ended(20, **_FAILED)
    _ended(1)
    assert _one(night.look_at_last_run())[0] == "ok"


def test_where_no_run_was_ever_applied_it_is_an_error() -> None:
    _ended(1, **_FAILED)
    assert [status for status, _ in _told(night.look_at_last_run())] == ["error", "error"]


def test_a_run_that_stopped_unexpectedly_is_an_error() -> None:
    _ended(20)
    IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None, stage="diff")
    _, (status, told) = _told(night.look_at_last_run())
    assert status == "error"
    assert "stopped unexpectedly in stage diff" in told


def test_a_run_that_is_working_is_in_order() -> None:
    _ended(20)
    run = IngestionRunFactory.create(status=RunStatus.RUNNING, finished_at=None, stage="diff")
    Lease.acquire().assign(run)
    assert [status for status, _ in _told(night.look_at_last_run())] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (timedelta(seconds=-5), "0 min"),
        (timedelta(minutes=119), "119 min"),
        (timedelta(hours=2), "2 h"),
        (timedelta(hours=47), "47 h"),
        (timedelta(days=3, hours=5), "3 days"),
    ],
)
def test_an_age_is_told_in_words(span: timedelta, words: str) -> None:
    assert night.in_words(span) == words


# --- the machine --------------------------------------------------------------------------------


def test_the_log_folder_is_made_if_need_be_and_nothing_stays_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "log"
    with override_settings(LOG_DIR=folder):
        assert _one(machine.look_at_log_folder())[0] == "ok"
    assert list(folder.iterdir()) == []


def test_a_log_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with override_settings(LOG_DIR=tmp_path / "file" / "log"):
        status, told = _one(machine.look_at_log_folder())
    assert status == "error"
    assert "correct LOG_DIR" in told


_Usage = namedtuple("_Usage", "total used free")


@pytest.mark.parametrize(
    ("total", "free", "status"),
    [
        (100 * GB, 11 * GB, "ok"),
        (100 * GB, 9 * GB, "warning"),
        (10 * GB, 1.9 * GB, "warning"),
        (10 * GB, 0.4 * GB, "error"),
        (4_000 * GB, 21 * GB, "ok"),
        (4_000 * GB, 19 * GB, "warning"),
    ],
)
def test_free_disk_is_judged_by_size_and_share(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, total: float, free: float, status: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: _Usage(total, total - free, free))
    assert machine._room("log", tmp_path).status.value == status


def test_a_disk_is_told_once_and_folders_need_not_be_there_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    looked_at: list[Path] = []

    def usage(folder: Path) -> _Usage:
        looked_at.append(folder)
        return _Usage(10 * GB, 9.9 * GB, 0.1 * GB)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    monkeypatch.setattr(machine, "_device", lambda folder: folder)
    folder = tmp_path / "there"
    folder.mkdir()
    with override_settings(LOG_DIR=folder / "not" / "yet", BACKUP_DIR=str(folder / "backup")):
        told = [told for _, told in _told(machine.look_at_disk())]
    assert looked_at.count(folder) == 1
    assert len([line for line in told if str(folder) in line]) == 1


def test_the_disk_of_the_backups_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "_device", lambda folder: folder)
    (tmp_path / "usb").mkdir()
    with override_settings(BACKUP_DIR=str(tmp_path / "usb" / "po")):
        told = [told for _, told in _told(machine.look_at_disk())]
    assert any(f"(backups: {tmp_path / 'usb'})" in line for line in told)


def test_a_drive_that_is_not_there_is_an_error_and_the_others_are_still_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    is_there = Path.exists

    def exists(path: Path) -> bool:
        return path.is_relative_to(tmp_path) and is_there(path)

    monkeypatch.setattr(Path, "exists", exists)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with override_settings(BACKUP_DIR="/usb/po", LOG_DIR=tmp_path):
        told = [told for _, told in _told(machine.look_at_disk())]
    (missing,) = [line for line in told if "There is no drive" in line]
    assert missing.startswith("There is no drive for /usb/po (backups).")
    assert any(str(tmp_path) in line for line in told)


def test_a_last_run_in_the_future_is_an_error() -> None:
    _ended(-3)
    status, told = _told(machine.look_at_clock())[0]
    assert status == "error"
    assert "3 h in the future" in told


@pytest.mark.parametrize(
    ("seconds", "status"),
    [(0, "ok"), (-55, "ok"), (70, "warning"), (-70, "warning"), (700, "error"), (-700, "error")],
)
def test_the_clock_is_compared_with_that_of_the_databases_server(
    monkeypatch: pytest.MonkeyPatch, seconds: int, status: str
) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    monkeypatch.setattr(
        machine, "_server_time", lambda _: timezone.now() + timedelta(seconds=seconds)
    )
    assert _one(machine.look_at_clock())[0] == status


def test_a_servers_time_without_zone_is_utc() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no times of its own")
    query = "SELECT CAST('2026-03-01 10:00:00' AS timestamp)"
    if connection.vendor == "microsoft":
        query = query.replace("timestamp", "datetime2")
    assert machine._server_time(query) == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_a_real_server_is_asked_for_its_time() -> None:
    if connection.vendor not in machine._SERVER_TIME:
        pytest.skip("SQLite has no clock but that of this machine")
    assert _one(machine.look_at_clock())[0] == "ok"


# --- SQL Server, without one ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        append_only._IN_PLACE["microsoft"][1],
        database._VERSIONS["microsoft"],
        database._SIZES["microsoft"],
        database._SQL_SERVER_OPTIONS,
        machine._SERVER_TIME["microsoft"],
    ],
)
def test_what_sql_server_is_asked_is_one_select_of_its_dialect(query: str) -> None:
    (statement,) = sqlglot.parse(query, dialect="tsql")
    assert isinstance(statement, sqlglot.exp.Query)


class TestBackups:
    """The screen says whether the nightly backup is there."""

    @pytest.fixture(autouse=True)
    def folder(self, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        engine = SimpleNamespace(identity=lambda _: "this one")
        monkeypatch.setattr(backups, "engine_of", lambda _: engine)
        settings.ERP_DATABASE_URL = "sqlite:////srv/erp.sqlite3"
        settings.BACKUP_DIR = tmp_path / "backups"
        return tmp_path / "backups"

    @pytest.fixture
    def made(self, folder: Path) -> Callable[..., None]:
        """Puts a backup of so long ago there."""

        def made(age: timedelta, database: str = "this one") -> None:
            with archive.draft(folder) as draft:
                draft.new_file("data").write_bytes(b"rows")
                values: dict[str, Any] = dict.fromkeys(
                    field.name for field in fields(archive.Manifest)
                )
                values |= {
                    "product": archive.PRODUCT,
                    "format": archive.FORMAT,
                    "made_at": (timezone.now() - age).isoformat(),
                    "database": database,
                    "data": "data",
                    "data_is_on_server": False,
                }
                draft.complete(archive.Manifest(**values))

        return made

    def test_without_any_the_screen_warns_and_says_where_it_looked(self, folder: Path) -> None:
        for _ in range(2):
            status, told = _one(backups.look_at_backups())
            assert status == "warning"
            assert str(folder) in told
            folder.mkdir(exist_ok=True)

    def test_one_of_last_night_is_fine(self, made: Any) -> None:
        made(timedelta(hours=60))
        made(timedelta(hours=7))
        assert _one(backups.look_at_backups())[0] == "ok"

    def test_one_of_the_night_before_last_is_not(self, made: Any) -> None:
        made(timedelta(hours=51))
        status, told = _one(backups.look_at_backups())
        assert status == "warning"
        assert "2 days" in told or "51 h" in told

    def test_one_of_another_database_does_not_count(self, made: Any) -> None:
        made(timedelta(hours=1), "another one")
        assert _one(backups.look_at_backups())[0] == "warning"

    def test_the_read_only_copy_needs_none(self, settings: Any) -> None:
        settings.ERP_DATABASE_URL = ""
        assert _one(backups.look_at_backups())[0] == "ok"
