"""Everything that can go wrong on a night, each with its exact outcome: exit code, report,
attempts, message and remedy, what is in the database and in the log file, and that the next night
heals it.

Killed processes are in test_crash.py, a mapping added on night 20 (no change events) and a wish to
stop in every stage are in apps/ingestion/tests.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper, SQLiteCursorWrapper

from apps.audit.models import AuditEvent, EventType
from apps.ingestion.erp import reader
from apps.ingestion.erp.router import ERP_ALIAS
from apps.ingestion.erp.rows import RowReader
from apps.ingestion.models import ERPSnapshot, IngestionLease, IngestionRun, RejectedRow
from apps.ingestion.tests.erp_table import (
    ErpTable,
    batches_of,
    changes_of,
    content,
    day,
    line_of,
    log_of,
    messages_of,
)
from apps.po.models import POLine, Presence

POSTGRES_URL = os.environ.get("TEST_POSTGRES_URL", "")
UNREACHABLE = "Check that the ERP's server is up and reachable"
SERVER = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
DEADLOCK = (
    "Transaction (Process ID 52) was deadlocked on lock resources with another process and has "
    "been chosen as the deadlock victim. Rerun the transaction."
)


@pytest.fixture
def erp(tmp_path: Path, db: None) -> ErpTable:
    """Night 1 has passed over 40 lines; on night 2 A1 has a delivery and A2 was closed."""
    erp = ErpTable(tmp_path / "erp.sqlite3")
    erp.read_receipts()
    erp.add("A1", delivered_quantity=10)
    erp.add("A2")
    erp.add_others(38)
    erp.receive("R1", "A1", 10, "2025-03-01")
    erp.night(1)
    erp.change("A1", delivered_quantity=25)
    erp.receive("R2", "A1", 15, day(2))
    erp.change("A2", status="C")
    return erp


def run_night_2(erp: ErpTable, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out = erp.command("--as-of", str(day(2)), "--json", *arguments)
    return code, json.loads(out)


def assert_failed(
    erp: ErpTable, *, message: str, remedy: str, attempts: int, stage: str = "snapshot"
) -> str:
    """Night 2 fails like this, changes nothing and tells it everywhere. Returns the message."""
    before = content()
    code, report = run_night_2(erp)
    assert (code, report["status"], report["erp_attempts"]) == (1, "failed", attempts)
    (told,) = report["errors_encountered"]
    assert told["stage"] == stage
    assert message in told["message"]
    assert remedy in told["remedy"]
    assert content() == before
    run = IngestionRun.objects.get(identifier=report["run_identifier"])
    assert (run.status, run.errors_encountered) == ("failed", [told])
    (event,) = AuditEvent.objects.filter(correlation_id=run.identifier)
    assert (event.event_type, event.data) == (EventType.INGESTION_FAILED, report)
    (line,) = [line for line in log_of(report["run_identifier"]) if "report" in line]
    assert (line["levelname"], line["report"]) == ("ERROR", report)
    assert IngestionLease.objects.get().token is None
    return str(told["message"])


def assert_night_2_is_whole(erp: ErpTable, *, attempts: int = 1) -> None:
    """Night 2 is applied as if nothing had been wrong."""
    code, report = run_night_2(erp)
    assert (code, report["status"], report["errors_encountered"]) == (0, "success", [])
    assert report["erp_attempts"] == attempts
    assert (report["lines_changed"], report["lines_left"], report["po_lines_processed"]) == (
        1,
        1,
        39,
    )
    assert batches_of("A1")[1:] == [("exact", 15, day(2))]
    assert line_of("A2").presence == Presence.CLOSED
    run = IngestionRun.objects.get(identifier=report["run_identifier"])
    assert ERPSnapshot.objects.filter(run=run).count() == 40
    assert not RejectedRow.objects.exists()


# --- The ERP cannot be reached --------------------------------------------------------------


def closed_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_connection_refused_is_tried_as_often_as_configured_then_fails(erp: ErpTable) -> None:
    erp.address = f"postgres://reader:geheim@127.0.0.1:{closed_port()}/erp"
    message = assert_failed(
        erp, message="Connection refused", remedy=UNREACHABLE, attempts=settings_attempts()
    )
    assert "geheim" not in message
    erp.address = erp.file
    assert_night_2_is_whole(erp)


def settings_attempts() -> int:
    attempts: int = settings.INGESTION_RETRY_ATTEMPTS
    assert attempts == 3
    return attempts


def login_fails(monkeypatch: pytest.MonkeyPatch, *error: str, sqlstate: str | None = None) -> None:
    """The ERP's driver answers every connection with this error."""
    connect = DatabaseWrapper.get_new_connection

    def refuse(self: DatabaseWrapper, params: dict[str, Any]) -> Any:
        if self.settings_dict.get("NAME", "").startswith("file:"):
            raise driver_error(*error, sqlstate=sqlstate)
        return connect(self, params)

    monkeypatch.setattr(DatabaseWrapper, "get_new_connection", refuse)


def driver_error(*args: str, sqlstate: str | None = None) -> sqlite3.OperationalError:
    """As a driver raises it; the SQLite one stands in, since Django wraps only what it knows."""
    error = sqlite3.OperationalError(*args)
    if sqlstate is not None:
        error.sqlstate = sqlstate  # type: ignore[attr-defined]  # as psycopg does
    return error


@pytest.mark.parametrize(
    ("error", "sqlstate"),
    [
        (('FATAL:  password authentication failed for user "reader"',), "28P01"),
        (
            (
                "28000",
                f"[28000] {SERVER}Login failed for user 'reader'. (18456) (SQLDriverConnect)",
            ),
            None,
        ),
        (
            (f"Driver Error: x; DDBC Error: {SERVER}Login failed for user 'reader'.",),
            None,
        ),
    ],
    ids=["psycopg", "pyodbc", "mssql-python"],
)
def test_a_wrong_password_fails_at_once(
    erp: ErpTable,
    monkeypatch: pytest.MonkeyPatch,
    error: tuple[str, ...],
    sqlstate: str | None,
) -> None:
    with monkeypatch.context() as patch:
        login_fails(patch, *error, sqlstate=sqlstate)
        assert_failed(
            erp,
            message="reader",
            remedy="Correct user and password in ERP_DATABASE_URL",
            attempts=1,
        )
    assert_night_2_is_whole(erp)


@pytest.mark.skipif(not POSTGRES_URL, reason="TEST_POSTGRES_URL names no PostgreSQL server")
def test_a_login_that_a_real_server_refuses_fails_at_once(erp: ErpTable) -> None:
    scheme, _, rest = POSTGRES_URL.partition("://")
    erp.address = f"{scheme}://nobody_here:wrong@{rest.rpartition('@')[2]}"
    assert_failed(
        erp,
        message="nobody_here",
        remedy="Correct user and password in ERP_DATABASE_URL",
        attempts=1,
    )


@pytest.mark.skipif(not POSTGRES_URL, reason="TEST_POSTGRES_URL names no PostgreSQL server")
def test_a_database_that_a_real_server_does_not_have_fails_at_once(erp: ErpTable) -> None:
    erp.address = f"{POSTGRES_URL.rpartition('/')[0]}/no_such_erp"
    assert_failed(
        erp,
        message='database "no_such_erp" does not exist',
        remedy="Correct the database name in ERP_DATABASE_URL",
        attempts=1,
    )


def test_an_erp_file_that_is_not_there_fails_at_once_and_is_not_made(
    erp: ErpTable, tmp_path: Path
) -> None:
    erp.address = tmp_path / "elsewhere.sqlite3"
    assert_failed(
        erp,
        message="unable to open database file",
        remedy="Correct the database name in ERP_DATABASE_URL",
        attempts=1,
    )
    assert not erp.address.exists()


# --- The link is lost -----------------------------------------------------------------------


class BrokenLink:
    """The ERP's driver raises an error at the n-th fetch of an attempt, for so many attempts."""

    def __init__(
        self, patch: pytest.MonkeyPatch, error: Callable[[], Exception], *, at: int, times: int
    ) -> None:
        self.error = error
        self.at = at
        self.times = times
        self.broken = 0
        self._connection: Any = None
        self._fetches = 0
        patch.setattr(reader, "FETCH_SIZE", 10)
        link = self

        def fetchmany(cursor: sqlite3.Cursor, size: int) -> list[Any]:
            link.fetch(cursor)
            return sqlite3.Cursor.fetchmany(cursor, size)

        patch.setattr(SQLiteCursorWrapper, "fetchmany", fetchmany)

    def fetch(self, cursor: sqlite3.Cursor) -> None:
        if (
            ERP_ALIAS not in connections.settings
            or cursor.connection is not connections[ERP_ALIAS].connection
        ):
            return  # the application's own database
        if cursor.connection is not self._connection:
            self._connection, self._fetches = cursor.connection, 0
        self._fetches += 1
        if self._fetches == self.at and self.broken < self.times:
            self.broken += 1
            raise self.error()


LOST = ("consuming input failed: server closed the connection unexpectedly", "08006")
# 40 rows in tens: 1 to 4 and the end of the extract, the look-up of A2 and its end, the receipts.
FETCHES = {"first rows": 1, "in mid-stream": 3, "look-up": 6, "receipts": 8}


@pytest.mark.parametrize("at", FETCHES.values(), ids=FETCHES.keys())
@pytest.mark.parametrize("times", [1, 2])
def test_a_link_lost_on_some_attempts_is_read_again_from_a_clean_start(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch, at: int, times: int
) -> None:
    link = BrokenLink(
        monkeypatch, lambda: driver_error(LOST[0], sqlstate=LOST[1]), at=at, times=times
    )
    assert_night_2_is_whole(erp, attempts=times + 1)
    assert link.broken == times


@pytest.mark.parametrize("at", FETCHES.values(), ids=FETCHES.keys())
def test_a_link_lost_on_every_attempt_fails(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    with monkeypatch.context() as patch:
        BrokenLink(patch, lambda: driver_error(LOST[0], sqlstate=LOST[1]), at=at, times=99)
        assert_failed(erp, message="server closed the connection", remedy=UNREACHABLE, attempts=3)
    assert_night_2_is_whole(erp)


def test_the_number_of_attempts_is_a_setting(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.INGESTION_RETRY_ATTEMPTS = 5
    BrokenLink(monkeypatch, lambda: driver_error(*LOST[:1], sqlstate=LOST[1]), at=3, times=4)
    assert_night_2_is_whole(erp, attempts=5)


def test_each_wait_between_attempts_is_longer_with_some_jitter(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.INGESTION_RETRY_ATTEMPTS = 5
    settings.INGESTION_RETRY_BACKOFF_SECONDS = 2.0
    waits: list[float] = []
    monkeypatch.setattr(
        "apps.ingestion.context.Stop.pause", lambda _, seconds: waits.append(seconds)
    )
    BrokenLink(monkeypatch, lambda: driver_error(*LOST[:1], sqlstate=LOST[1]), at=1, times=4)
    assert_night_2_is_whole(erp, attempts=5)
    for wait, least in zip(waits, (2, 4, 8, 16), strict=True):
        assert least <= wait <= least + 2


def test_what_a_broken_attempt_counted_is_not_counted_twice(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    erp.change("Z0001", status="??")
    erp.change("Z0002", ordered_quantity="x")
    erp.run_sql("INSERT INTO orders SELECT * FROM orders WHERE po_number = 'Z0003'")
    BrokenLink(monkeypatch, lambda: driver_error(*LOST[:1], sqlstate=LOST[1]), at=9, times=2)
    code, report = run_night_2(erp)
    assert (code, report["status"], report["erp_attempts"]) == (0, "partial", 3)
    assert (report["po_lines_processed"], report["rejected_rows"]) == (38, 1)
    told = " ".join(entry["message"] for entry in report["errors_encountered"])
    assert 'The status code "??" of 1 line(s)' in told
    assert "1 row(s) stand in the ERP more than once" in told


@pytest.mark.parametrize(
    "error",
    [
        ("40001", f"[40001] {SERVER}{DEADLOCK} (1205) (SQLExecDirectW)"),
        (f"Driver Error: Serialization failure; DDBC Error: {SERVER}{DEADLOCK}",),
    ],
    ids=["pyodbc", "mssql-python"],
)
def test_a_deadlock_1205_is_tried_again(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch, error: tuple[str, ...]
) -> None:
    with monkeypatch.context() as patch:
        BrokenLink(patch, lambda: driver_error(*error), at=3, times=99)
        assert_failed(erp, message="deadlock", remedy=UNREACHABLE, attempts=3)
    with monkeypatch.context() as patch:
        BrokenLink(patch, lambda: driver_error(*error), at=3, times=1)
        assert_night_2_is_whole(erp, attempts=2)


def test_an_error_that_would_stay_is_not_tried_again(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        link = BrokenLink(
            patch,
            lambda: driver_error("permission denied for table orders", sqlstate="42501"),
            at=3,
            times=99,
        )
        assert_failed(erp, message="permission denied", remedy="grant the login SELECT", attempts=1)
    assert link.broken == 1
    assert_night_2_is_whole(erp)


def test_a_type_error_in_the_reader_is_no_reason_to_try_again(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: RowReader, raw: Any) -> Any:
        raise TypeError("unhashable type: 'list'")

    with monkeypatch.context() as patch:
        patch.setattr(RowReader, "read", fail)
        assert_failed(
            erp,
            message="Unexpected error: TypeError: unhashable type",
            remedy="Send ingestion.log",
            attempts=1,
        )
    assert_night_2_is_whole(erp)


# --- The ERP is not as the mapping says -----------------------------------------------------


def test_a_missing_table_fails_at_once_and_names_the_nearest(erp: ErpTable) -> None:
    erp.table = "order"
    assert_failed(
        erp,
        message='the ERP has no table or view "order" that this login may read, did you mean '
        '"orders"?',
        remedy="check_erp",
        attempts=1,
    )
    erp.table = "orders"
    assert_night_2_is_whole(erp)


def test_a_missing_column_fails_at_once_and_names_the_nearest(erp: ErpTable) -> None:
    erp.run_sql("ALTER TABLE orders RENAME COLUMN promised_date TO promise_date")
    assert_failed(
        erp,
        message='promised_date: table orders has no column "promised_date", did you mean '
        '"promise_date"?',
        remedy="docs/erp-mapping.md",
        attempts=1,
    )
    erp.run_sql("ALTER TABLE orders RENAME COLUMN promise_date TO promised_date")
    assert_night_2_is_whole(erp)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("[lines", "not valid TOML"),
        ("[lines]\ntable = 'orders'", "[lines.columns] is missing"),
    ],
)
def test_a_mapping_that_cannot_be_used_fails_at_once(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch, mapping: str, message: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(ErpTable, "mapping", lambda _: mapping)
        assert_failed(erp, message=message, remedy="docs/erp-mapping.md", attempts=0)
    assert_night_2_is_whole(erp)


def test_no_mapping_or_no_erp_fails_at_once_and_names_the_setting(
    erp: ErpTable, settings: Any
) -> None:
    settings.ERP_MAPPING_FILE = ""
    for message, remedy in (
        ("No ERP mapping is configured", "Set ERP_MAPPING_FILE in .env"),
        ("No ERP is configured", "Set ERP_DATABASE_URL in .env"),
    ):
        out = io.StringIO()
        with pytest.raises(SystemExit) as end:
            call_command("run_ingestion", "--json", stdout=out)
        (told,) = json.loads(out.getvalue())["errors_encountered"]
        assert end.value.code == 1
        assert message in told["message"]
        assert remedy in told["remedy"]
        mapping = erp.file.with_name("erp.toml")
        mapping.write_text(erp.mapping(), encoding="utf-8")
        settings.ERP_MAPPING_FILE = str(mapping)


# --- The extract cannot be true -------------------------------------------------------------


def test_an_empty_extract_is_refused(erp: ErpTable) -> None:
    erp.run_sql("ALTER TABLE orders RENAME TO kept")
    erp.run_sql("CREATE TABLE orders AS SELECT * FROM kept LIMIT 0")
    assert_failed(
        erp, message="The ERP shows no active line at all", remedy="--accept-drop", attempts=1
    )
    erp.run_sql("DROP TABLE orders")
    erp.run_sql("ALTER TABLE kept RENAME TO orders")
    assert_night_2_is_whole(erp)


def test_an_extract_60_percent_smaller_is_refused(erp: ErpTable) -> None:
    erp.run_sql("CREATE TABLE gone AS SELECT * FROM orders WHERE po_number > 'Z0013'")
    erp.run_sql("DELETE FROM orders WHERE po_number > 'Z0013'")
    erp.change("A2", status="O")
    assert_failed(
        erp,
        message="The ERP shows 16 active lines, but 40 were active before: a fall of 60%",
        remedy="If the ERP is right, run once with --accept-drop",
        attempts=1,
    )
    erp.run_sql("INSERT INTO orders SELECT * FROM gone")
    erp.change("A2", status="C")
    assert_night_2_is_whole(erp)


def test_every_value_of_a_date_column_in_a_new_format_is_refused(erp: ErpTable) -> None:
    erp.run_sql("UPDATE orders SET promised_date = '30/06/2025'")
    message = assert_failed(
        erp, message="39 of 39 rows cannot be used", remedy="check_erp", attempts=1
    )
    assert "promised_date (promised_date): '30/06/2025' is not a date" in message
    erp.values = {"date_formats": ["%d/%m/%Y"]}
    code, report = run_night_2(erp)
    assert (code, report["status"], report["rejected_rows"]) == (0, "success", 0)
    assert report["change_events_detected"] == 2  # the delivery and the closing, no date


# --- Some rows are broken -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (
            {"promised_date": "2025-02-30"},
            "promised_date (promised_date): '2025-02-30' is not a date",
        ),
        ({"in_date": "31.03.2025"}, "in_date (in_date): '31.03.2025' is not a date"),
        (
            {"delivered_quantity": "fifty"},
            "delivered_quantity (delivered_quantity): 'fifty' is not a",
        ),
        (
            {"ordered_quantity": "1.000,00"},
            "ordered_quantity (ordered_quantity): '1.000,00' is not a number",
        ),
    ],
    ids=[
        "a broken date",
        "a date in another format",
        "a quantity that is text",
        "a foreign number",
    ],
)
def test_a_broken_value_sets_its_row_aside_and_the_night_is_partial(
    erp: ErpTable, values: dict[str, str], reason: str
) -> None:
    before = POLine.objects.filter(po_number="Z0001").values().get()
    erp.change("Z0001", **values)
    code, report = run_night_2(erp)
    assert (code, report["status"], report["rejected_rows"]) == (0, "partial", 1)
    assert (report["lines_changed"], report["lines_left"]) == (1, 1)
    (told,) = report["errors_encountered"]
    assert told["message"].startswith("1 row(s) cannot be used; their lines keep their state.")
    assert f"The first: Z0001 / 10: {reason}" in told["message"]
    assert "ERP's users correct these rows" in told["remedy"]
    assert POLine.objects.filter(po_number="Z0001").values().get() == before
    rejected = RejectedRow.objects.get()
    assert (rejected.po_number, rejected.line_number) == ("Z0001", "10")
    assert set(values.items()) <= set(rejected.raw_values.items())
    (event,) = AuditEvent.objects.filter(
        correlation_id=report["run_identifier"], event_type=EventType.INGESTION_COMPLETED
    )
    assert event.data["status"] == "partial"
    assert run_night_2(erp, "--strict")[0] == 3


def test_a_key_of_blanks_sets_its_row_aside(erp: ErpTable) -> None:
    erp.add("   ", line_number="  ")
    code, report = run_night_2(erp)
    assert (code, report["status"], report["rejected_rows"]) == (0, "partial", 1)
    rejected = RejectedRow.objects.get()
    assert (rejected.po_number, rejected.line_number) == ("", "")
    assert rejected.reason == "po_number (po_number): is empty; line_number (line_number): is empty"
    assert report["new_lines_created"] == 0
    assert report["lines_changed"] == 1


def test_a_line_whose_key_became_blank_is_not_there_any_more(erp: ErpTable) -> None:
    erp.run_sql("UPDATE orders SET po_number = '  ' WHERE po_number = 'Z0001'")
    assert run_night_2(erp)[1]["rejected_rows"] == 1
    assert line_of("Z0001").presence == Presence.ABSENT
    erp.run_sql("UPDATE orders SET po_number = 'Z0001' WHERE po_number = '  '")
    assert run_night_2(erp)[1]["lines_returned"] == 1


def test_duplicate_keys_that_differ_are_set_aside_and_identical_ones_count_once(
    erp: ErpTable,
) -> None:
    erp.run_sql("INSERT INTO orders SELECT * FROM orders WHERE po_number IN ('Z0001', 'Z0002')")
    erp.run_sql(
        "UPDATE orders SET final_customer = 'Other' WHERE rowid ="
        " (SELECT max(rowid) FROM orders WHERE po_number = 'Z0002')"
    )
    code, report = run_night_2(erp)
    assert (code, report["status"]) == (0, "partial")
    assert (report["rejected_rows"], report["po_lines_processed"]) == (2, 38)
    assert {row.po_number for row in RejectedRow.objects.all()} == {"Z0002"}
    assert {row.reason for row in RejectedRow.objects.all()} == {
        "several rows have this key and differ"
    }
    told = " ".join(entry["message"] for entry in report["errors_encountered"])
    assert "1 row(s) stand in the ERP more than once; each counted once." in told
    assert line_of("Z0002").presence == Presence.PRESENT


# --- Stopped --------------------------------------------------------------------------------


def test_sigterm_in_mid_run_ends_it_cleanly_and_says_so(
    erp: ErpTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def terminate(self: RowReader, raw: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        return read(self, raw)

    read = RowReader.read
    with monkeypatch.context() as patch:
        patch.setattr(RowReader, "read", terminate)
        assert_failed(
            erp,
            message="asked to stop (SIGTERM or Ctrl+C) and ended cleanly; nothing was applied",
            remedy="Start it again with run_ingestion",
            attempts=1,
        )
    assert_night_2_is_whole(erp)


# --- Real processes -------------------------------------------------------------------------


class Installation:
    """The product as an administrator installs it: its environment, its database, its log."""

    def __init__(self, folder: Path, erp: ErpTable) -> None:
        self.folder = folder
        self.erp = erp
        self.database = folder / "po.sqlite3"
        self.log_file = folder / "log files" / "ingestion.log"
        self.mapping_file = folder / "erp mapping.toml"
        self.mapping_file.write_text(erp.mapping(), encoding="utf-8")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "DATABASE_URL"},
            "SECRET_KEY": "only-for-tests-and-not-a-secret-but-fifty-characters-long",
            "ALLOWED_HOSTS": "po-tracking.example.com",
            "DATABASE_URL": f"sqlite:///{self.database.as_posix()}",
            "ALLOW_SQLITE_IN_PRODUCTION": "true",
            "ERP_DATABASE_URL": f"sqlite:///{erp.file.as_posix()}",
            "ERP_MAPPING_FILE": str(self.mapping_file),
            "LOG_DIR": str(self.log_file.parent),
            "PYTHONPATH": str(folder),
        }
        self.settings = "po_tracking.settings.production"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "manage.py", *arguments, f"--settings={self.settings}"],
            cwd=settings.BASE_DIR,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def run(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Exit code and report of `run_ingestion --json`."""
        return self.end(self.start("run_ingestion", "--json", *arguments))

    def end(self, process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
        out, errors = process.communicate(timeout=60)
        assert "Traceback" not in errors
        report: dict[str, Any] = json.loads(out)
        return process.returncode, report

    def with_settings(self, name: str, *lines: str) -> None:
        """Production's settings and these lines."""
        text = ["from po_tracking.settings.production import *  # noqa: F403", *lines, ""]
        (self.folder / f"{name}.py").write_text("\n".join(text), encoding="utf-8")
        self.settings = name

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(sql).fetchall()

    def logged(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application database as `migrate` leaves it."""
    folder = tmp_path_factory.mktemp("migrated")
    installation = Installation(folder, ErpTable(folder / "erp.sqlite3"))
    process = installation.start("migrate", "--verbosity=0")
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 0
    return installation.database


@pytest.fixture
def installation(tmp_path: Path, migrated: Path) -> Installation:
    erp = ErpTable(tmp_path / "erp.sqlite3")
    erp.add("A1", delivered_quantity=10)
    erp.add_others(60)
    installed = Installation(tmp_path, erp)
    shutil.copy(migrated, installed.database)
    return installed


@pytest.mark.process
def test_the_command_runs_under_production_settings_with_the_documented_environment(
    installation: Installation,
) -> None:
    code, report = installation.run("--baseline")
    assert (code, report["mode"], report["status"]) == (0, "baseline", "success")
    assert report["new_lines_created"] == 61
    installation.erp.change("A1", delivered_quantity=25)
    code, report = installation.run()
    assert (code, report["mode"], report["lines_changed"]) == (0, "incremental", 1)
    logged = [line for line in installation.logged() if "report" in line]
    assert [line["report"] for line in logged][1:] == [report]
    assert logged[1]["correlation_id"] == report["run_identifier"]
    code, answer = installation.run("--baseline")
    assert (code, answer["status"]) == (2, "usage")
    process = installation.start("run_ingestion")
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "Ingestion incremental: success" in out


@pytest.mark.process
def test_a_full_disk_fails_the_run_and_nothing_is_half_applied(installation: Installation) -> None:
    production = installation.settings
    # Not a page more than the file has: what SQLite answers is what a full disk gives.
    installation.with_settings(
        "full_disk",
        "DATABASES['default']['OPTIONS']['init_command'] += '; PRAGMA max_page_count=1'",
    )
    code, report = installation.run()
    assert (code, report["status"]) == (1, "failed")
    (told,) = report["errors_encountered"]
    assert "database or disk is full" in told["message"]
    assert "Nothing was applied" in told["message"]
    assert "make room" in told["remedy"]
    assert installation.query("SELECT count(*) FROM po_poline") == [(0,)]
    assert installation.query("SELECT count(*) FROM ingestion_ingestionrun WHERE status IN"
                              " ('success', 'partial')") == [(0,)]  # fmt: skip
    assert installation.logged()[-1]["report"] == report
    installation.settings = production
    code, report = installation.run()
    assert (code, report["mode"], report["new_lines_created"]) == (0, "baseline", 61)


@pytest.mark.process
def test_a_read_only_application_database_fails_the_run_and_the_log_file_has_it(
    installation: Installation,
) -> None:
    production = installation.settings
    installation.with_settings(
        "read_only",
        "from po_tracking.databases import application_database",
        f"DATABASES['default'] = application_database('sqlite:///{installation.database.as_posix()}',"
        " read_only=True)",
    )
    code, report = installation.run()
    assert (code, report["status"], report["erp_attempts"]) == (1, "failed", 0)
    (told,) = report["errors_encountered"]
    assert "attempt to write a readonly database" in told["message"]
    assert "The application's database cannot be written" in told["remedy"]
    assert installation.query("SELECT count(*) FROM ingestion_ingestionrun") == [(0,)]
    assert installation.logged()[-1]["report"] == report
    installation.settings = production
    assert installation.run()[0] == 0


@pytest.mark.process
@pytest.mark.parametrize(
    ("database", "message", "remedy"),
    [
        ("no such folder/po.sqlite3", "unable to open database file", "check DATABASE_URL"),
        ("not migrated.sqlite3", "no such table", "run manage.py migrate"),
    ],
)
def test_an_application_database_that_is_not_there_fails_the_run_and_the_log_file_has_it(
    installation: Installation, database: str, message: str, remedy: str
) -> None:
    url = f"sqlite:///{(installation.folder / database).as_posix()}"
    installation.environment["DATABASE_URL"] = url
    code, report = installation.run()
    assert (code, report["status"]) == (1, "failed")
    (told,) = report["errors_encountered"]
    assert message in told["message"]
    assert remedy in told["remedy"]
    assert installation.logged()[-1]["report"] == report


@contextmanager
def erp_is_busy(installation: Installation) -> Iterator[None]:
    """Somebody locks the ERP: a run waits for it in mid-air."""
    with closing(sqlite3.connect(installation.erp.file, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.mark.process
def test_of_two_runs_at_once_one_runs_and_the_other_answers_4_at_once(
    installation: Installation,
) -> None:
    with erp_is_busy(installation):
        first = installation.start("run_ingestion", "--json")
        running = "SELECT count(*) FROM ingestion_ingestionrun WHERE status = 'running'"
        wait_until(lambda: installation.query(running) == [(1,)])
        started = time.monotonic()
        code, answer = installation.run()
        assert time.monotonic() - started < 5
    assert (code, answer["status"]) == (4, "active")
    assert f"process {first.pid} on {socket.gethostname()}" in answer["error"]
    code, report = installation.end(first)
    assert (code, report["status"], report["new_lines_created"]) == (0, "success", 61)
    assert installation.query("SELECT count(*) FROM ingestion_ingestionrun") == [(1,)]
    assert installation.query("SELECT count(*) FROM po_poline") == [(61,)]
    warnings = [line for line in installation.logged() if line["levelname"] == "WARNING"]
    assert (
        len([line for line in warnings if "Another ingestion run is active" in line["message"]])
        == 1
    )


@pytest.mark.process
def test_a_second_run_answers_4_within_5_seconds_while_the_first_applies(
    installation: Installation,
) -> None:
    """An apply holds SQLite's one right to write; the second run only looks at the lease."""
    with closing(sqlite3.connect(installation.database, isolation_level=None)) as connection:
        connection.execute(
            "INSERT OR REPLACE INTO ingestion_ingestionlease"
            " (id, token, host, pid, process_started, expires_at)"
            " VALUES (1, '0123456789abcdef0123456789abcdef', ?, ?, ?, '2999-01-01 00:00:00')",
            (socket.gethostname(), os.getpid(), psutil.Process().create_time()),
        )
        connection.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        code, answer = installation.run()
        assert time.monotonic() - started < 5
        connection.execute("ROLLBACK")
    assert (code, answer["status"]) == (4, "active")
    assert installation.query("SELECT count(*) FROM ingestion_ingestionrun") == [(0,)]
    assert installation.query("SELECT count(*) FROM audit_auditevent") == [(0,)]


# --- Beside the faults ----------------------------------------------------------------------


def test_the_undisturbed_night_2_is_what_the_others_are_measured_by(erp: ErpTable) -> None:
    assert_night_2_is_whole(erp)
    report = erp.night(2)
    assert (changes_of(report), messages_of(report)) == ([], "")
