"""Backup and restore beside other processes: a real ingestion, and SIGKILL at every place.

A killed backup is no backup, and leaves the older ones alone. A killed restore leaves the old
database or the new one, whole, and can be begun again.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from apps.demo.world import World
from apps.operations.backups import archive
from apps.operations.backups.errors import BackupError
from apps.operations.backups.making import back_up
from apps.operations.tests.own_database import (
    Rows,
    migrated,
    rows_of,
    sqlite_settings,
    use_database,
    with_history,
    without_restores,
)
from apps.po.models import Supplier
from tests.launcher import Job
from tests.nights import START

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL."),
]

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
KILLED = -signal.SIGKILL


def environment(folder: Path) -> dict[str, str]:
    unused = f"sqlite:///{(folder / 'unused.sqlite3').as_posix()}"
    return os.environ | {
        "DATABASE_URL": unused,
        "ERP_DATABASE_URL": unused,
        "LOG_DIR": str(folder / "log"),
    }


def run(folder: Path, jobs: Sequence[tuple[list[str], Path, int | None]]) -> list[int]:
    """The exit codes of the jobs (killed.py)."""
    told = json.dumps(
        [[arguments, str(database), kill_at] for arguments, database, kill_at in jobs]
    )
    ended = subprocess.run(
        [sys.executable, "-m", "apps.operations.tests.killed", told],
        cwd=settings.BASE_DIR,
        env=environment(folder),
        stdout=subprocess.PIPE,
        check=True,
    )
    codes: list[int] = json.loads(ended.stdout)
    return codes


def points_of(database: Path) -> list[str]:
    return Path(f"{database}.points").read_text(encoding="utf-8").splitlines()


def spread(points: list[str], count: int) -> list[int]:
    """So many of them at even distances, all of them if thorough; always the last."""
    if THOROUGH:
        return list(range(len(points)))
    return sorted({*(place * len(points) // count for place in range(count)), len(points) - 1})


@pytest.fixture
def larger(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Path:
    """A database too large for SQLite's cache, so that a copy is written before it is committed."""
    with django_db_blocker.unblock():
        file = Path(shutil.copy(with_history(), tmp_path / "larger.sqlite3"))
    with closing(sqlite3.connect(file)) as connection:
        connection.executemany(
            "INSERT INTO po_supplier (code, name) VALUES (?, ?)",
            [(f"L{number}", "x" * 4_000) for number in range(800)],
        )
        connection.commit()
    assert file.stat().st_size > 3_000_000
    return file


def test_a_killed_backup_is_never_taken_for_one(larger: Path, tmp_path: Path) -> None:
    def arguments(folder: str) -> list[str]:
        return ["backup", "--to", str(tmp_path / folder), "--keep", "1"]

    assert run(tmp_path, [(arguments("before"), larger, None)]) == [0]
    points, before = points_of(larger), rows_of(larger)
    assert points.count("sqlite.watch call") > 20, "the copy had too few steps to be killed in"
    chosen = spread(points, 12)
    for number in chosen:
        shutil.copytree(tmp_path / "before", tmp_path / f"killed_{number}")
    (older,) = (path.name for path in (tmp_path / "before").iterdir())
    jobs = [(arguments(f"killed_{number}"), larger, number) for number in chosen]
    assert run(tmp_path, jobs) == [KILLED] * len(jobs)
    finished = []
    for number in chosen:
        where = f"killed at point {number}, {points[number]}"
        found = {*(tmp_path / f"killed_{number}").iterdir()}
        partial = {path for path in found if path.suffix == ".partial"}
        for path in partial:
            with pytest.raises(BackupError, match="never finished"):
                archive.read(path)
        whole = [archive.read(path) for path in found - partial]
        for backup in whole:
            backup.ensure_undamaged()
            assert rows_of(backup.data) == before, where
        names = {backup.folder.name for backup in whole}
        assert names, where
        finished.append(names != {older})
        assert older in names or finished[-1], where
    assert finished == sorted(finished), "once the new backup is there, it stays"
    assert {*finished} == {False, True}
    assert rows_of(larger) == before


def test_a_killed_restore_leaves_the_old_database_or_the_new_one(
    larger: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    assert run(tmp_path, [(["backup", "--to", str(folder)], larger, None)]) == [0]
    backup = archive.read(next(folder.iterdir()))
    new = without_restores(rows_of(larger))
    with closing(sqlite3.connect(larger)) as connection:
        connection.execute("DELETE FROM po_supplier WHERE code LIKE 'L1%'")
        connection.execute("UPDATE po_supplier SET name = 'changed since'")
        connection.commit()
    old = without_restores(rows_of(larger))
    arguments = ["restore", "--force", str(backup.folder)]

    def copy(name: str) -> Path:
        return Path(shutil.copy(larger, tmp_path / name))

    undisturbed = copy("undisturbed.sqlite3")
    assert run(tmp_path, [(arguments, undisturbed, None)]) == [0]
    points = points_of(undisturbed)
    assert without_restores(rows_of(undisturbed)) == new
    assert points.count("sqlite.watch call") > 20, "the copy had too few steps to be killed in"
    chosen = spread(points, 16)
    killed = [copy(f"killed_{number}.sqlite3") for number in chosen]
    jobs = [(arguments, database, number) for database, number in zip(killed, chosen, strict=True)]
    assert run(tmp_path, jobs) == [KILLED] * len(jobs)
    found = []
    for number, database in zip(chosen, killed, strict=True):
        where = f"killed at point {number}, {points[number]}"
        with closing(sqlite3.connect(database)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), where
        rows = without_restores(rows_of(database))
        assert rows in (old, new), where
        found.append(rows == new)
    assert found == sorted(found), "once the new state is there, it stays"
    assert {*found} == {False, True}
    begun_again = killed if THOROUGH else killed[::5]
    assert {*run(tmp_path, [(arguments, database, None) for database in begun_again])} == {0}
    for database in begun_again:
        assert without_restores(rows_of(database)) == new


# --- beside a real ingestion ----------------------------------------------------------------------


class Night:
    """An ingestion in a process of its own that waits in the midst of applying its night."""

    def __init__(self, folder: Path, database: Path, world: World) -> None:
        erp, mapping = folder / "erp.sqlite3", folder / "erp_mapping.toml"
        world.write(erp)
        mapping.write_text(world.mapping_toml(receipts=True), encoding="utf-8")
        self.held = folder / "held"
        job = Job(
            arguments=["run_ingestion", "--json"],
            database=str(database),
            erp=str(erp),
            mapping=str(mapping),
            hold_in="report",
            held=str(self.held),
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.launcher", json.dumps(asdict(job))],
            cwd=settings.BASE_DIR,
            env=environment(folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_held(self) -> None:
        started = time.monotonic()
        while not self.held.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < started + 60
            time.sleep(0.01)

    def end(self) -> dict[str, Any]:
        """Lets it go on; its report."""
        self.held.unlink()
        printed, _ = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, printed
        report: dict[str, Any] = json.loads(printed)
        return report


def counts(rows: Rows) -> tuple[int, int]:
    return len(rows["po_poline"]), len(rows["audit_auditevent"])


def test_a_backup_while_a_night_is_applied_is_as_before_it_and_one_after_it_has_all(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock():
        database = Path(shutil.copy(migrated(), tmp_path / "po.sqlite3"))
        world = World(seed=7, lines=60, suppliers=4, start=START)
        night = Night(tmp_path, database, world)
        try:
            night.wait_until_held()
            with use_database(sqlite_settings(database)):
                during = back_up(tmp_path / "backups").backup
                code = _restore(during)
        finally:
            report = night.end()
        assert code == 4, "nothing is restored under a running ingestion"
        assert counts(rows_of(during.data)) == (0, 0)
        with use_database(sqlite_settings(database)):
            after = back_up(tmp_path / "backups").backup
            assert Supplier.objects.exists()
    lines, events = counts(rows_of(after.data))
    assert lines == report["po_lines_processed"] == after.manifest.rows["lines"]
    assert events == after.manifest.rows["audit_events"] > 0


def test_a_night_restored_from_the_midst_of_its_run_is_cleared_away_by_the_next(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock():
        database = Path(shutil.copy(migrated(), tmp_path / "po.sqlite3"))
        night = Night(tmp_path, database, World(seed=7, lines=60, suppliers=4, start=START))
        try:
            night.wait_until_held()
            with use_database(sqlite_settings(database)):
                during = back_up(tmp_path / "backups").backup
        finally:
            night.end()
        with use_database(sqlite_settings(database)):
            assert _restore(during) == 0
            assert not Supplier.objects.exists()
        (tmp_path / "again").mkdir()
        again = Night(
            tmp_path / "again", database, World(seed=7, lines=60, suppliers=4, start=START)
        )
        again.wait_until_held()
        assert again.end()["mode"] == "baseline"


def _restore(backup: archive.Backup) -> int:
    said = io.StringIO()
    try:
        call_command("restore", str(backup.folder), "--force", stdout=said, stderr=said)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


# --- the drill of docs/operations.md --------------------------------------------------------------


def _manage(folder: Path, database: Path, *arguments: str) -> str:
    """What the command prints; it must succeed."""
    ended = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=settings.BASE_DIR,
        env=environment(folder)
        | {"DATABASE_URL": f"sqlite:///{database}", "BACKUP_DIR": str(folder / "backups")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_documented_drill_restores_into_another_database_and_leaves_ours(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    with django_db_blocker.unblock():
        ours = Path(shutil.copy(with_history(), tmp_path / "ours.sqlite3"))
    before, drill = rows_of(ours), tmp_path / "drill.sqlite3"
    folder = _manage(tmp_path, ours, "backup").splitlines()[0]
    assert "4 audit events" in _manage(tmp_path, drill, "restore", folder)
    assert len(json.loads(_manage(tmp_path, drill, "ingestion_history", "--json"))) == 1
    assert without_restores(rows_of(drill)) == without_restores(before)
    assert rows_of(ours) == before
