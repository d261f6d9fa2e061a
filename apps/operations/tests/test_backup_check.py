"""backup --check tells what a backup or its restore would lack, and makes nothing."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django import DjangoDbBlocker

from apps.ingestion.lease import Lease
from apps.operations.tests.own_database import sqlite_settings, use_database, with_history
from po_tracking.databases import application_database


@pytest.fixture
def database(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[BaseDatabaseWrapper]:
    """The application's database, with some history, in a folder of its own."""
    with django_db_blocker.unblock():
        (tmp_path / "data").mkdir()
        shutil.copy(with_history(), tmp_path / "data" / "po.sqlite3")
        with use_database(sqlite_settings(tmp_path / "data" / "po.sqlite3")) as connection:
            yield connection


def check(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command("backup", "--check", *arguments, stdout=output, stderr=errors)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, output.getvalue(), errors.getvalue()


def test_where_nothing_is_missing_it_says_so_and_makes_nothing(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    folder = tmp_path / "backups" / "of today"
    code, printed, errors = check("--to", str(folder))
    assert (code, errors) == (0, "")
    assert printed == f"A backup could be made in {folder}, and restored.\n"
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    assert check("--to", str(folder))[0] == 0
    assert list(folder.iterdir()) == []


def test_it_looks_at_the_folder_of_the_settings_and_answers_in_json(
    database: BaseDatabaseWrapper, tmp_path: Path, settings: Any
) -> None:
    settings.BACKUP_DIR = str(tmp_path)
    code, printed, _ = check("--json")
    assert (code, json.loads(printed)) == (0, {"status": "ok", "missing": []})


def test_a_folder_that_cannot_be_written_is_told_with_the_cure(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    code, printed, errors = check("--to", str(tmp_path / "a file" / "backups"))
    assert (code, printed) == (1, "")
    assert f"{tmp_path / 'a file' / 'backups'} cannot be used" in errors
    assert "the right to read and write" in errors


def test_everything_that_is_missing_is_told_at_once(
    database: BaseDatabaseWrapper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    (tmp_path / "a file").touch()
    code, printed, _ = check("--to", str(tmp_path / "a file"), "--json")
    answer = json.loads(printed)
    assert (code, answer["status"]) == (1, "failed")
    told = [each["message"] for each in answer["missing"]]
    assert "cannot be used" in told[0]
    assert told[1].startswith(f"There is not enough room in {tmp_path / 'a file'}")
    assert told[2].startswith(f"There is not enough room in {tmp_path / 'data'}")
    assert len(told) == 3
    assert all(each["remedy"] for each in answer["missing"])


def test_an_installation_that_could_not_restore_is_told_although_it_could_back_up(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    file = Path(database.settings_dict["NAME"])
    database.close()
    with use_database(application_database(f"sqlite:///{file.as_posix()}", read_only=True)):
        code, _, errors = check("--to", str(tmp_path))
    assert code == 1
    assert "opens its database read-only" in errors


def test_a_database_without_tables_lacks_everything(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with closing(sqlite3.connect(tmp_path / "other.sqlite3")) as other:
        other.execute("CREATE TABLE something (else_ TEXT)")
    with django_db_blocker.unblock(), use_database(sqlite_settings(tmp_path / "other.sqlite3")):
        code, _, errors = check("--to", str(tmp_path))
    assert code == 1
    assert "nothing to back up" in errors


def test_a_running_ingestion_is_told_with_exit_code_4(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    with transaction.atomic():
        Lease.acquire()  # by this very process, so it is alive
    code, _, errors = check("--to", str(tmp_path))
    assert code == 4
    assert "ingestion run is active" in errors
    assert json.loads(check("--to", str(tmp_path), "--json")[1])["status"] == "active"
