"""What a backup and a restore say to SQL Server, and in which order. No server hears it here: a
stand-in notes each statement and answers what Microsoft's documentation says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.operations.backups import archive, sqlserver
from apps.operations.backups.archive import Backup, Draft, Manifest
from apps.operations.backups.content import Ask, Content
from apps.operations.backups.errors import BackupError
from apps.operations.backups.sqlserver import (
    backup_statement,
    placements,
    quoted_name,
    quoted_text,
    restore_statement,
    verify_statement,
)
from tests.sql_server import offline_connection

CONTENT = Content(
    migrations={"audit": "0004_user_created"},
    rows={"lines": 1, "runs": 2, "change_events": 3, "audit_events": 4},
)


class Server:
    """A stand-in: notes what it is told, and answers by the beginning of the statement."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.answers: dict[str, list[tuple[Any, ...]]] = {
            "SELECT CAST(SERVERPROPERTY('EngineEdition')": [(3, "16.0.4125.3")],
            "SELECT CAST(SERVERPROPERTY('InstanceDefaultDataPath')": [("D:\\Data\\", "E:\\Log\\")],
            "SELECT CAST(DATABASEPROPERTYEX": [("ONLINE",)],
            "SELECT physical_name": [("D:\\Data\\po.mdf", "D"), ("E:\\Log\\po.ldf", "L")],
            "RESTORE FILELISTONLY": [
                ("po_tracking", "C:\\elsewhere\\po.mdf", "D", "PRIMARY", 1, 2),
                ("po_tracking_log", "C:\\elsewhere\\po.ldf", "L", None, 1, 2),
            ],
        }
        self.refused: set[str] = set()  # what is in the statements that fail
        monkeypatch.setattr(sqlserver, "_session", self.session)
        monkeypatch.setattr(sqlserver, "asking", lambda connection: self.ask("counting"))
        monkeypatch.setattr(sqlserver, "content_of", self.content_of)

    @contextmanager
    def session(self, connection: BaseDatabaseWrapper, database: str) -> Iterator[Ask]:
        yield self.ask(database)

    def ask(self, database: str) -> Ask:
        def ask(sql: str) -> list[Any]:
            self.said.append(f"{database}: {sql}")
            if any(refused in sql for refused in self.refused):
                raise DatabaseError("[42000] permission was denied")
            return next((rows for known, rows in self.answers.items() if sql.startswith(known)), [])

        return ask

    def content_of(self, ask: Ask) -> Content:
        ask("the rows")
        return CONTENT

    def verbs(self) -> list[str]:
        """What was asked for beside plain questions, with the database it was asked in."""
        return [
            " ".join(re.split(r"[ ;]", said)[:3]) for said in self.said if ": SELECT" not in said
        ]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    return Server(monkeypatch)


@pytest.fixture
def connection() -> BaseDatabaseWrapper:
    connection = offline_connection()
    connection.settings_dict["NAME"] = "po_tracking"
    return connection


@pytest.fixture
def draft(tmp_path: Path) -> Iterator[Draft]:
    with archive.draft(tmp_path) as new:
        yield new


def backup_of(tmp_path: Path) -> Backup:
    manifest = Manifest(
        product=archive.PRODUCT, format=archive.FORMAT, product_version="0.1.0", made_at="",
        engine="sqlserver", server="SQL Server 16", database="x", migrations={}, rows=CONTENT.rows,
        rows_are_exact=False, data="D:\\Backup\\a.bak", data_is_on_server=True, bytes=None,
        sha256=None,
    )  # fmt: skip
    return Backup(tmp_path, manifest)


# --- statements -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("po_tracking", "[po_tracking]"),
        ("po]; DROP DATABASE x; --", "[po]]; DROP DATABASE x; --]"),
        ("it's", "[it's]"),
        ("[x]", "[[x]]]"),
    ],
)
def test_a_name_is_always_one_name(name: str, quoted: str) -> None:
    assert quoted_name(name) == quoted


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("D:\\a.bak", "N'D:\\a.bak'"),
        ("it's", "N'it''s'"),
        ("'; DROP DATABASE x; --", "N'''; DROP DATABASE x; --'"),
        ("深圳", "N'深圳'"),
    ],
)
def test_a_text_is_always_one_text(text: str, quoted: str) -> None:
    assert quoted_text(text) == quoted


def test_a_backup_leaves_the_servers_own_schedule_alone_and_has_checksums() -> None:
    assert backup_statement("a]b", "D:\\it's.bak", compressed=True) == (
        "BACKUP DATABASE [a]]b] TO DISK = N'D:\\it''s.bak' WITH COPY_ONLY, CHECKSUM, INIT, "
        "COMPRESSION"
    )
    assert backup_statement("po", "/b/a.bak", compressed=False).endswith(
        "WITH COPY_ONLY, CHECKSUM, INIT"
    )


def test_a_backup_is_read_again_with_its_checksums() -> None:
    assert verify_statement("/b/it's.bak") == (
        "RESTORE VERIFYONLY FROM DISK = N'/b/it''s.bak' WITH CHECKSUM"
    )


def test_a_database_that_is_there_is_replaced_by_one_batch_alone() -> None:
    statement = restore_statement(
        "a]b", "D:\\a.bak", [("po", "D:\\po.mdf"), ("lo'g", "E:\\po.ldf")], status="ONLINE"
    )
    assert statement == (
        "ALTER DATABASE [a]]b] SET OFFLINE WITH ROLLBACK IMMEDIATE; "
        "RESTORE DATABASE [a]]b] FROM DISK = N'D:\\a.bak' WITH CHECKSUM, RECOVERY, REPLACE, "
        "MOVE N'po' TO N'D:\\po.mdf', MOVE N'lo''g' TO N'E:\\po.ldf'"
    )


def test_a_database_that_is_not_there_is_made_without_replacing_any() -> None:
    statement = restore_statement("po", "/b/a.bak", [("po", "/d/po.mdf")], status=None)
    assert statement == (
        "RESTORE DATABASE [po] FROM DISK = N'/b/a.bak' WITH CHECKSUM, RECOVERY, "
        "MOVE N'po' TO N'/d/po.mdf'"
    )


def test_a_restore_that_was_broken_off_is_begun_again_without_taking_anything_offline() -> None:
    statement = restore_statement("po", "/b/a.bak", [("po", "/d/po.mdf")], status="RESTORING")
    assert statement == (
        "RESTORE DATABASE [po] FROM DISK = N'/b/a.bak' WITH CHECKSUM, RECOVERY, REPLACE, "
        "MOVE N'po' TO N'/d/po.mdf'"
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (
            [("F:\\x.mdf", "D"), ("G:\\x.ldf", "L")],
            ["F:\\x.mdf", "G:\\x.ldf", "D:\\Data\\a_b_2.mdf"],
        ),
        ([], ["D:\\Data\\a_b_0.mdf", "E:\\Log\\a_b_1.ldf", "D:\\Data\\a_b_2.mdf"]),
    ],
)
def test_each_file_goes_where_the_database_has_its_files_or_where_new_ones_go(
    now: list[tuple[str, str]], expected: list[str]
) -> None:
    stored = [("data", "D"), ("log", "L"), ("more", "D")]
    places = placements("a]b", stored, now, ("D:\\Data\\", "E:\\Log\\"))
    assert places == list(zip(["data", "log", "more"], expected, strict=True))


def test_a_server_on_linux_gets_its_own_kind_of_paths() -> None:
    folders = ("/var/opt/mssql/data/", "/var/opt/mssql/log/")
    assert placements("po", [("a", "D"), ("b", "L")], [], folders) == [
        ("a", "/var/opt/mssql/data/po_0.mdf"),
        ("b", "/var/opt/mssql/log/po_1.ldf"),
    ]


# --- backup ---------------------------------------------------------------------------------------


def test_the_server_writes_the_backup_and_reads_it_again(
    server: Server, connection: BaseDatabaseWrapper, draft: Draft, settings: Any
) -> None:
    settings.BACKUP_SQLSERVER_DIR = "D:\\Backup\\"
    copy = sqlserver.back_up(connection, draft)
    assert copy.data == f"D:\\Backup\\{draft.name}.bak"
    assert server.verbs() == [
        "counting: the rows",
        "po_tracking: BACKUP DATABASE",
        "po_tracking: RESTORE VERIFYONLY",
    ]
    assert "COMPRESSION" in server.said[2]
    assert (copy.data_is_on_server, copy.rows_are_exact, copy.sha256) == (True, False, None)
    assert copy.server == "SQL Server 16.0.4125.3"
    assert copy.content == CONTENT


def test_express_is_not_asked_to_compress(
    server: Server, connection: BaseDatabaseWrapper, draft: Draft, settings: Any
) -> None:
    settings.BACKUP_SQLSERVER_DIR = "/var/opt/mssql/backup"
    server.answers["SELECT CAST(SERVERPROPERTY('EngineEdition')"] = [(4, "16.0")]
    assert sqlserver.back_up(connection, draft).data.startswith("/var/opt/mssql/backup/po-")
    assert not any("COMPRESSION" in said for said in server.said)


def test_a_service_that_backs_itself_up_is_told_so(
    server: Server, connection: BaseDatabaseWrapper, draft: Draft, settings: Any
) -> None:
    settings.BACKUP_SQLSERVER_DIR = "D:\\Backup"
    server.answers["SELECT CAST(SERVERPROPERTY('EngineEdition')"] = [(5, "12.0")]
    with pytest.raises(BackupError, match="makes its backups itself"):
        sqlserver.back_up(connection, draft)


def test_without_a_folder_on_the_server_nothing_is_asked(
    server: Server, connection: BaseDatabaseWrapper, draft: Draft, settings: Any
) -> None:
    settings.BACKUP_SQLSERVER_DIR = ""
    with pytest.raises(BackupError, match="a folder of its own machine") as caught:
        sqlserver.back_up(connection, draft)
    assert "BACKUP_SQLSERVER_DIR" in caught.value.remedy
    assert server.said == []


@pytest.mark.parametrize("verb", ["BACKUP DATABASE", "RESTORE VERIFYONLY"])
def test_what_the_server_refuses_is_told_with_the_rights_it_wants(
    server: Server, connection: BaseDatabaseWrapper, draft: Draft, settings: Any, verb: str
) -> None:
    settings.BACKUP_SQLSERVER_DIR = "D:\\Backup"
    server.refused = {verb}
    with pytest.raises(BackupError, match=r"did not write .*permission was denied") as caught:
        sqlserver.back_up(connection, draft)
    assert "db_backupoperator" in caught.value.remedy
    assert "CREATE ANY DATABASE" in caught.value.remedy
    # The server's disk is another machine's, so only the administrator can look there.
    assert f"D:\\Backup\\{draft.name}.bak" in caught.value.remedy


def test_a_backup_that_cannot_be_read_again_is_removed_where_this_machine_sees_it(
    server: Server, connection: BaseDatabaseWrapper, draft: Draft, settings: Any, tmp_path: Path
) -> None:
    settings.BACKUP_SQLSERVER_DIR = str(tmp_path)
    file = tmp_path / f"{draft.name}.bak"
    file.touch()
    server.refused = {"RESTORE VERIFYONLY"}
    with pytest.raises(BackupError, match="did not write") as caught:
        sqlserver.back_up(connection, draft)
    assert not file.exists()
    assert str(file) not in caught.value.remedy


# --- asked beforehand ----------------------------------------------------------------------------


def missing(connection: BaseDatabaseWrapper, tmp_path: Path) -> list[BackupError]:
    return list(sqlserver.lacks(connection, tmp_path))


@pytest.mark.parametrize(
    ("rights", "told", "cures"),
    [
        ((1, 1, 1), [], []),
        ((0, 1, 1), ["may not back up"], ["ALTER ROLE db_backupoperator ADD MEMBER [po]]user];"]),
        ((1, 0, 1), ["may not read backups"], ["GRANT CREATE ANY DATABASE TO [po]]app];"]),
        ((1, 1, 0), ["may not restore"], ["ALTER SERVER ROLE dbcreator ADD MEMBER [po]]app];"]),
        # NULL: the server does not know what was asked about.
        ((None, 1, 0), ["may not back up", "may not restore"], ["db_backupoperator", "dbcreator"]),
    ],
)
def test_each_right_that_is_missing_is_told_with_the_statement_that_gives_it(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path, settings: Any,
    rights: tuple[int, ...], told: list[str], cures: list[str],
) -> None:  # fmt: skip
    settings.BACKUP_SQLSERVER_DIR = "D:\\Backup"
    server.answers["SELECT SUSER_SNAME()"] = [("po]app", "po]user", *rights)]
    found = missing(connection, tmp_path)
    assert [part in error.message for error, part in zip(found, told, strict=True)] == [
        True for _ in told
    ]
    assert all(cure in error.remedy for error, cure in zip(found, cures, strict=True))
    # The rights of the database are asked for in the database, and nothing is changed.
    assert all(said.startswith("po_tracking: SELECT") for said in server.said)


def test_a_folder_that_is_not_configured_and_a_service_without_backups_are_told(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path, settings: Any
) -> None:
    settings.BACKUP_SQLSERVER_DIR = ""
    server.answers["SELECT CAST(SERVERPROPERTY('EngineEdition')"] = [(5, "12.0")]
    first, second = missing(connection, tmp_path)
    assert "BACKUP_SQLSERVER_DIR" in first.remedy
    assert "makes its backups itself" in second.message


def test_the_question_for_rights_is_understood_by_sql_server() -> None:
    (statement,) = sqlglot.parse(sqlserver._RIGHTS_NOW, dialect="tsql")
    assert isinstance(statement, sqlglot.exp.Select)


# --- restore --------------------------------------------------------------------------------------


def test_a_restore_checks_the_backup_before_it_touches_the_database(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    sqlserver.restore(connection, backup_of(tmp_path))
    assert server.verbs() == [
        "master: RESTORE VERIFYONLY",
        "master: RESTORE FILELISTONLY",
        "master: ALTER DATABASE",
        "master: ALTER DATABASE",
    ]
    batch = server.said[-2]
    assert "SET OFFLINE WITH ROLLBACK IMMEDIATE" in batch
    assert "SINGLE_USER" not in batch, "anybody could take the one place"
    assert "REPLACE" in batch
    assert "MOVE N'po_tracking' TO N'D:\\Data\\po.mdf'" in batch
    assert "MOVE N'po_tracking_log' TO N'E:\\Log\\po.ldf'" in batch
    assert "elsewhere" not in batch
    assert server.said[-1].endswith("ALTER DATABASE [po_tracking] SET MULTI_USER")


def test_a_database_that_the_server_does_not_have_is_made(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    server.answers |= {"SELECT CAST(DATABASEPROPERTYEX": [(None,)], "SELECT physical_name": []}
    assert not sqlserver.exists(connection)
    sqlserver.restore(connection, backup_of(tmp_path))
    batch = server.said[-2]
    assert batch.startswith("master: RESTORE DATABASE [po_tracking]")
    assert "REPLACE" not in batch
    assert "MOVE N'po_tracking' TO N'D:\\Data\\po_tracking_0.mdf'" in batch


def test_a_restore_that_was_broken_off_can_be_begun_again(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    server.answers["SELECT CAST(DATABASEPROPERTYEX"] = [("RESTORING",)]
    assert not sqlserver.exists(connection), "nobody can ask it what it holds"
    sqlserver.restore(connection, backup_of(tmp_path))
    assert server.said[-2].startswith("master: RESTORE DATABASE [po_tracking]")
    assert "REPLACE" in server.said[-2]


@pytest.mark.parametrize("status", ["OFFLINE", "SUSPECT", "RECOVERY_PENDING"])
def test_a_database_that_cannot_be_asked_is_told_with_its_state(
    server: Server, connection: BaseDatabaseWrapper, status: str
) -> None:
    server.answers["SELECT CAST(DATABASEPROPERTYEX"] = [(status,)]
    with pytest.raises(BackupError, match=f"po_tracking is not online: {status}") as caught:
        sqlserver.exists(connection)
    assert "ALTER DATABASE [po_tracking] SET ONLINE" in caught.value.remedy


def test_a_restore_that_fails_brings_the_database_back_and_tells_the_rights(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    server.refused = {"RESTORE DATABASE"}
    with pytest.raises(BackupError, match="did not restore") as caught:
        sqlserver.restore(connection, backup_of(tmp_path))
    assert "dbcreator" in caught.value.remedy
    assert server.said[-1] == (
        "master: IF DATABASEPROPERTYEX(N'po_tracking', 'Status') = 'OFFLINE' "
        "ALTER DATABASE [po_tracking] SET ONLINE"
    )


def test_a_database_that_cannot_be_brought_back_is_told_with_both_reasons(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    server.refused = {"RESTORE DATABASE", "SET ONLINE"}
    with pytest.raises(BackupError, match=r"did not restore .*stays offline") as caught:
        sqlserver.restore(connection, backup_of(tmp_path))
    assert "ALTER DATABASE [po_tracking] SET ONLINE" in caught.value.remedy


def test_a_backup_that_the_server_cannot_read_is_not_restored(
    server: Server, connection: BaseDatabaseWrapper, tmp_path: Path
) -> None:
    server.refused = {"RESTORE VERIFYONLY"}
    with pytest.raises(BackupError):
        sqlserver.restore(connection, backup_of(tmp_path))
    assert not any("RESTORE DATABASE" in said for said in server.said)


# --- the session ----------------------------------------------------------------------------------


class Cursor:
    """Of a driver: a statement with further results, of which the last is an error."""

    description: Any = None

    def __init__(self) -> None:
        self.results = 3

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None: ...

    def execute(self, sql: str) -> None: ...

    def nextset(self) -> bool:
        self.results -= 1
        if not self.results:
            raise DatabaseError("the last result is an error")
        return True


def test_every_result_is_read_because_errors_come_last(
    connection: BaseDatabaseWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    own: list[BaseDatabaseWrapper] = []

    def copy(self: BaseDatabaseWrapper, alias: str | None = None) -> BaseDatabaseWrapper:
        made = offline_connection()
        made.cursor = Cursor  # type: ignore[assignment, method-assign]  # no driver here
        own.append(made)
        return made

    monkeypatch.setattr(type(connection), "copy", copy)
    with (
        sqlserver._session(connection, "master") as ask,
        pytest.raises(DatabaseError, match="the last result"),
    ):
        ask("RESTORE DATABASE x")
    (session,) = own
    assert session.settings_dict["NAME"] == "master"
    assert session.settings_dict["OPTIONS"]["query_timeout"] == 0


# --- what is on the server's disk -----------------------------------------------------------------


OLDER = "po-tracking-20260101T000000.000Z"


def _keep_one(tmp_path: Path, data: Path | str) -> archive.Pruned:
    """Two backups with these data; only the newer is kept."""
    for made in (OLDER, "po-tracking-20260102T000000.000Z"):
        (tmp_path / made).mkdir()
        manifest = {**vars(backup_of(tmp_path).manifest), "data": str(data)}
        (tmp_path / made / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return archive.prune(tmp_path, database="x", keep=1)


def test_an_older_backup_whose_file_this_machine_does_not_see_is_left_and_told(
    tmp_path: Path, settings: Any
) -> None:
    settings.BACKUP_SQLSERVER_DIR = str(tmp_path)
    pruned = _keep_one(tmp_path, tmp_path / f"{OLDER}.bak")
    assert pruned.removed == []
    ((folder, why),) = pruned.left.items()
    assert folder == str(tmp_path / OLDER)
    assert "which this machine does not see" in why
    assert len(list(tmp_path.glob("*Z"))) == 2


def test_an_older_backup_whose_file_this_machine_sees_goes_with_its_file(
    tmp_path: Path, settings: Any
) -> None:
    settings.BACKUP_SQLSERVER_DIR = str(tmp_path)
    (tmp_path / f"{OLDER}.bak").touch()
    pruned = _keep_one(tmp_path, tmp_path / f"{OLDER}.bak")
    assert pruned == archive.Pruned(removed=[str(tmp_path / OLDER)], left={})
    assert not (tmp_path / f"{OLDER}.bak").exists()
    assert len(list(tmp_path.glob("*Z"))) == 1


@pytest.mark.parametrize("name", ["payroll.bak", f"elsewhere/{OLDER}.bak", f"x/../{OLDER}.bak"])
@pytest.mark.parametrize("folder", ["", "here"])
def test_no_other_file_is_removed_whatever_a_manifest_names(
    tmp_path: Path, settings: Any, name: str, folder: str
) -> None:
    settings.BACKUP_SQLSERVER_DIR = folder and str(tmp_path)
    for each in ("x", "elsewhere"):
        (tmp_path / each).mkdir()
    file = tmp_path / name
    file.touch()
    pruned = _keep_one(tmp_path, f"{tmp_path}/{name}")
    assert pruned.removed == []
    assert "BACKUP_SQLSERVER_DIR" in pruned.left[str(tmp_path / OLDER)]
    assert file.exists()
    assert (tmp_path / OLDER).exists()
