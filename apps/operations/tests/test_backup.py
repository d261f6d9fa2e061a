"""backup makes one consistent, checked copy or none at all, and removes only what it made."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from pytest_django import DjangoDbBlocker

from apps.ingestion.errors import IngestionError
from apps.operations.backups import archive, sqlite
from apps.operations.backups.errors import BackupError
from apps.operations.backups.making import back_up
from apps.operations.tests.own_database import (
    rows_of,
    sqlite_settings,
    use_database,
    with_history,
)
from po_tracking.databases import application_database

ROWS = {"lines": 4, "runs": 1, "change_events": 4, "audit_events": 4}


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
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def command(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    try:
        call_command("backup", *arguments, stdout=output, stderr=errors)
    except SystemExit as end:
        code = int(end.code or 0)
    return code, output.getvalue(), errors.getvalue()


# --- what is made ---------------------------------------------------------------------------------


def test_the_copy_holds_every_row_of_the_database(file: Path, folder: Path) -> None:
    backup = back_up(folder).backup
    assert rows_of(backup.data) == rows_of(file)


def test_the_manifest_tells_what_the_copy_is(file: Path, folder: Path) -> None:
    backup = back_up(folder).backup
    told = json.loads((backup.folder / "manifest.json").read_text(encoding="utf-8"))
    data = (backup.folder / told["data"]).read_bytes()
    assert told["rows"] == ROWS
    [(_, newest)] = MigrationLoader(None).graph.leaf_nodes("audit")
    assert told["migrations"]["audit"] == newest
    assert (told["bytes"], told["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (told["engine"], told["product_version"]) == ("sqlite", "0.1.0")
    assert told["server"] == f"SQLite {sqlite3.sqlite_version}"
    stamp = re.sub(r"[-:]", "", told["made_at"]).replace("+0000", "Z")
    assert backup.folder.name == f"po-tracking-{stamp}"


def test_the_copy_is_one_file_that_needs_no_other(
    database: BaseDatabaseWrapper, folder: Path
) -> None:
    backup = back_up(folder).backup
    assert {path.name for path in backup.folder.iterdir()} == {"manifest.json", "data.sqlite3"}
    with closing(sqlite3.connect(backup.data)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


@pytest.mark.skipif(os.name == "nt", reason="Windows knows rights, but not these.")
def test_only_the_owner_can_read_a_backup(database: BaseDatabaseWrapper, folder: Path) -> None:
    backup = back_up(folder).backup
    assert stat.S_IMODE(backup.folder.stat().st_mode) == 0o700
    for written in backup.folder.iterdir():
        assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_a_backup_changes_nothing_in_the_database(file: Path, folder: Path) -> None:
    before = file.read_bytes()
    back_up(folder)
    assert file.read_bytes() == before


def test_an_instance_that_may_only_read_can_be_backed_up(
    file: Path, folder: Path, database: BaseDatabaseWrapper
) -> None:
    database.close()
    with use_database(application_database(f"sqlite:///{file.as_posix()}", read_only=True)):
        backup = back_up(folder).backup
    assert rows_of(backup.data) == rows_of(file)


def test_the_command_prints_the_folder_first_and_what_it_holds(
    database: BaseDatabaseWrapper, folder: Path
) -> None:
    code, printed, errors = command("--to", str(folder))
    path, summary = printed.splitlines()
    assert (code, errors) == (0, "")
    assert Path(path).is_dir()
    assert summary.endswith("checked: 4 lines, 1 runs, 4 change events, 4 audit events.")


def test_the_command_takes_the_folder_of_the_settings_and_answers_in_json(
    database: BaseDatabaseWrapper, folder: Path, settings: Any
) -> None:
    settings.BACKUP_DIR = str(folder)
    code, printed, _ = command("--json")
    answer = json.loads(printed)
    assert code == 0
    assert Path(answer["path"]).parent == folder
    assert Path(answer["data"]).stat().st_size == answer["bytes"]
    assert answer["rows"] == ROWS
    assert set(answer) == {
        "path", "data", "bytes", "sha256", "seconds", "made_at", "engine", "rows", "removed",
        "left",
    }  # fmt: skip


# --- while others write ---------------------------------------------------------------------------


def test_what_is_written_but_not_committed_is_not_in_the_copy(file: Path, folder: Path) -> None:
    before = rows_of(file)
    with closing(sqlite3.connect(file, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size=1")  # so that it has to write before it commits
        writer.execute("BEGIN IMMEDIATE")
        writer.executemany(
            "INSERT INTO po_supplier (code, name) VALUES (?, '')",
            [(f"X{n}",) for n in range(5_000)],
        )
        backup = back_up(folder).backup
        writer.execute("COMMIT")
    assert rows_of(backup.data) == before


def test_a_copy_made_while_another_writes_is_of_one_moment(
    file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_PAGES_A_STEP", 3)  # many steps, between which it writes
    stop, written = threading.Event(), [0]

    def write() -> None:
        with closing(sqlite3.connect(file, timeout=20, isolation_level=None)) as writer:
            while not stop.is_set():
                number = written[0] = written[0] + 1
                writer.execute("BEGIN IMMEDIATE")
                writer.execute(
                    "INSERT INTO po_supplier (code, name) VALUES (?, '')", [f"X{number}"]
                )
                writer.execute(
                    "INSERT INTO ingestion_fieldset (digest, fields) VALUES (?, '{}')", [number]
                )
                writer.execute("COMMIT")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while written[0] < 3:
            time.sleep(0.01)
        copies = [back_up(folder).backup for _ in range(5)]
    finally:
        stop.set()
        thread.join()
    pairs = []
    for backup in copies:
        rows = rows_of(backup.data)
        suppliers = sum(row[1].startswith("X") for row in rows["po_supplier"])
        assert suppliers == len(rows["ingestion_fieldset"])
        pairs.append(suppliers)
    assert pairs == sorted(set(pairs)), "nothing was written between two of the copies"


# --- what cannot be backed up ---------------------------------------------------------------------


def refused(action: Callable[[], object], kind: type[IngestionError], *words: str) -> None:
    with pytest.raises(kind) as caught:
        action()
    told = f"{caught.value.message} {caught.value.remedy}"
    assert all(word in told for word in words), told
    assert caught.value.remedy


def test_a_database_that_is_not_there_is_not_made_by_looking(
    tmp_path: Path, folder: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    missing = tmp_path / "missing.sqlite3"
    with django_db_blocker.unblock(), use_database(sqlite_settings(missing)):
        refused(lambda: back_up(folder), BackupError, "nothing to back up", "DATABASE_URL")
    assert not missing.exists()


def test_a_database_without_tables_is_no_backup(
    tmp_path: Path, folder: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with closing(sqlite3.connect(tmp_path / "other.sqlite3")) as other:
        other.execute("CREATE TABLE something (else_ TEXT)")
    with django_db_blocker.unblock(), use_database(sqlite_settings(tmp_path / "other.sqlite3")):
        refused(lambda: back_up(folder), BackupError, "no tables of PO Tracking", "migrate")
    assert not folder.exists()


def test_a_database_in_memory_has_no_backup(
    folder: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock(), use_database(application_database("sqlite:///:memory:")):
        refused(lambda: back_up(folder), BackupError, "in memory", "DATABASE_URL")


def test_a_damaged_database_is_told_instead_of_copied(file: Path, folder: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'audit_auditevent'"
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with file.open("rb+") as data:
        data.seek((root - 1) * size)
        data.write(b"\xff" * 64)
    refused(lambda: back_up(folder), BackupError, "damaged", "last good backup")
    assert list(folder.iterdir()) == []


def test_without_enough_room_nothing_is_begun(
    database: BaseDatabaseWrapper, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    refused(lambda: back_up(folder), BackupError, "not enough room", str(folder))
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_what_the_disk_refuses_on_the_way_leaves_nothing_behind(
    database: BaseDatabaseWrapper, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    back_up(folder)
    before = sorted(folder.iterdir())

    def refuse(file: Path) -> None:
        raise OSError(number, os.strerror(number), str(file))

    monkeypatch.setattr(archive, "_flush", refuse)
    words = {errno.ENOSPC: "is full", errno.EACCES: "cannot be used"}[number]
    refused(lambda: back_up(folder, keep=1), BackupError, words)
    assert sorted(folder.iterdir()) == before, "an old backup went although no new one was made"


@pytest.mark.skipif(sys.platform == "win32", reason="a limit that only POSIX has")
def test_a_disk_that_fills_up_while_copying_leaves_nothing_behind(file: Path, folder: Path) -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size // 2, before[1]))
    try:
        refused(lambda: back_up(folder), BackupError, "cannot be copied")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_with_exit_code_1(
    database: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    code, printed, errors = command("--to", str(tmp_path / "a file" / "backups"))
    assert (code, printed) == (1, "")
    assert "cannot be used" in errors
    assert "the right to read and write" in errors


def test_a_failure_in_json_has_a_status_and_an_error_and_the_log_tells_it_too(
    database: BaseDatabaseWrapper, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").touch()
    code, printed, _ = command("--json", "--to", str(tmp_path / "a file"))
    assert code == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No backup was made" in caplog.text
    assert json.loads(printed)["status"] == "failed"
    assert "a file" in json.loads(printed)["error"]


# --- older backups --------------------------------------------------------------------------------


def test_only_the_newest_are_kept_when_told_so(database: BaseDatabaseWrapper, folder: Path) -> None:
    made = [back_up(folder).backup.folder for _ in range(4)]
    code, printed, _ = command("--json", "--to", str(folder), "--keep", "2")
    answer = json.loads(printed)
    assert code == 0
    assert answer["removed"] == [str(old) for old in made[:3]]
    assert sorted(folder.iterdir()) == [made[3], Path(answer["path"])]


def test_without_being_told_every_backup_stays(database: BaseDatabaseWrapper, folder: Path) -> None:
    made = [back_up(folder).backup.folder for _ in range(3)]
    assert sorted(folder.iterdir()) == made


@pytest.mark.parametrize("keep", ["0", "-1"])
def test_keeping_less_than_the_new_one_is_refused(
    database: BaseDatabaseWrapper, folder: Path, keep: str
) -> None:
    code, _, errors = command("--to", str(folder), "--keep", keep)
    assert code == 2
    assert "too few" in errors
    assert not folder.exists()


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_an_older_backup_that_cannot_be_removed_is_told_and_the_new_one_counts(
    database: BaseDatabaseWrapper,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    arguments: list[str],
) -> None:
    stays, goes = (back_up(folder).backup.folder for _ in range(2))
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path == stays:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    caplog.clear()
    code, printed, errors = command("--to", str(folder), "--keep", "1", *arguments)
    assert code == 0
    assert "No backup was made" not in caplog.text
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert str(stays) in told.getMessage()
    assert stays.exists()
    assert not goes.exists(), "one that stays must not keep the others"
    if arguments:
        answer = json.loads(printed)
        assert (answer["removed"], answer["left"]) == ([str(goes)], [str(stays)])
        assert Path(answer["path"]).is_dir()
    else:
        assert Path(printed.splitlines()[0]).is_dir()
        assert f"Not removed: {stays}. {stays} cannot be used: Permission denied." in errors


def test_remains_that_cannot_be_removed_do_not_keep_a_backup_from_being_made(
    database: BaseDatabaseWrapper, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remains = folder / "po-tracking-20260101T000000.000Z.partial"
    remains.mkdir(parents=True)
    os.utime(remains, (0, 0))
    rmtree = shutil.rmtree

    def refuse(path: Path, **options: Any) -> None:
        if path == remains:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        rmtree(path, **options)

    monkeypatch.setattr(shutil, "rmtree", refuse)
    assert back_up(folder).backup.folder.is_dir()


def test_another_backup_that_removes_the_same_ones_does_not_disturb(
    database: BaseDatabaseWrapper, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = [back_up(folder).backup.folder for _ in range(2)]
    remove = archive._remove

    def too_late(backup: archive.Backup) -> str:
        shutil.rmtree(old[0], ignore_errors=True)  # the other one was faster
        return remove(backup)

    monkeypatch.setattr(archive, "_remove", too_late)
    pruned = back_up(folder, keep=1).pruned
    assert pruned == archive.Pruned(removed=[str(old[1])], left={})


def test_what_vanishes_while_remains_are_looked_for_does_not_disturb(
    database: BaseDatabaseWrapper, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    (folder / "po-tracking-20260101T000000.000Z.partial").touch()  # no folder at all
    vanishing = folder / "po-tracking-20260102T000000.000Z.partial"
    vanishing.mkdir()
    stat_of = Path.stat

    def vanish(path: Path, **options: Any) -> os.stat_result:
        if path == vanishing and vanishing in list(folder.iterdir()):
            vanishing.rmdir()
        return stat_of(path, **options)

    monkeypatch.setattr(Path, "stat", vanish)
    assert back_up(folder).backup.folder.is_dir()
    assert not vanishing.exists()


def test_what_is_not_provably_its_own_is_never_removed(
    database: BaseDatabaseWrapper, folder: Path
) -> None:
    old = back_up(folder).backup.folder
    without_manifest = folder / "po-tracking-20200101T000000.000Z"
    shutil.copytree(old, without_manifest)
    (without_manifest / "manifest.json").unlink()
    other_product = folder / "po-tracking-20200102T000000.000Z"
    shutil.copytree(old, other_product)
    (other_product / "manifest.json").write_text('{"product": "something else"}', encoding="utf-8")
    renamed = shutil.copytree(old, folder / "before the update")
    other_database = folder / "po-tracking-20200103T000000.000Z"
    shutil.copytree(old, other_database)
    manifest = json.loads((other_database / "manifest.json").read_text(encoding="utf-8"))
    manifest["database"] = "sqlite /srv/other/po.sqlite3"
    (other_database / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "notes.txt").touch()
    unfinished = folder / "po-tracking-20200104T000000.000Z.partial"
    unfinished.mkdir()

    made = back_up(folder, keep=1)
    assert made.pruned.removed == [str(old)]
    assert {*folder.iterdir()} == {
        without_manifest,
        other_product,
        Path(renamed),
        other_database,
        folder / "notes.txt",
        unfinished,
        made.backup.folder,
    }


def test_what_a_killed_backup_left_goes_after_a_day(
    database: BaseDatabaseWrapper, folder: Path
) -> None:
    def leave(name: str, hours: float) -> Path:
        left = folder / name
        left.mkdir(parents=True)
        (left / "data.sqlite3").touch()
        moment = time.time() - hours * 3600
        os.utime(left / "data.sqlite3", (moment, moment))
        os.utime(left, (moment, moment))
        return left

    abandoned = leave("po-tracking-20260101T000000.000Z.partial", 25)
    running = leave("po-tracking-20260102T000000.000Z.partial", 23)
    foreign = leave("something-else.partial", 25)
    back_up(folder)
    assert not abandoned.exists()
    assert running.exists()
    assert foreign.exists()
