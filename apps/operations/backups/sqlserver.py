"""SQL Server: its own BACKUP and RESTORE, sent through the configured connection.

The server writes the backup, to a folder of its own disk (BACKUP_SQLSERVER_DIR); our folder gets
the manifest, which names that file. COPY_ONLY leaves the schedule of the server's administrator
alone, CHECKSUM lets every later reading notice damage. RESTORE is no transaction: one that fails
before it replaces anything leaves the old state, one that fails in the middle leaves a database
that is restoring, and is simply begun again.

Written after Microsoft's documentation of BACKUP, RESTORE, RESTORE VERIFYONLY and RESTORE
FILELISTONLY; the statements are checked by tests, but have not been run on a server yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from django.db import DatabaseError
from django.db import Error as AnyDatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.operations.backups.archive import Backup, Draft, data_on_server, on_server
from apps.operations.backups.content import Ask, asking, content_of
from apps.operations.backups.copy import Copy
from apps.operations.backups.errors import BackupError, refusals

ENGINE = "sqlserver"

# DATABASEPROPERTYEX(..., 'Status')
_ONLINE = "ONLINE"
_RESTORING = "RESTORING"

# SERVERPROPERTY('EngineEdition')
_EXPRESS = 4  # cannot compress backups
_WITHOUT_BACKUP = frozenset({5, 6, 11})  # Azure's databases, which back themselves up

_RIGHTS = (
    "The login needs the database role db_backupoperator or db_owner, the permission CREATE ANY "
    "DATABASE to read backups again, and to restore the server role dbcreator; the account of the "
    "SQL Server service must be able to use the folder (docs/operations.md)."
)


# Who asks, and may they write a backup, read it again, restore it. The owner of the database may
# restore it too, but not bring it online again (Microsoft's documentation of ALTER DATABASE SET).
_RIGHTS_NOW = (
    "SELECT SUSER_SNAME(), USER_NAME(), "
    "HAS_PERMS_BY_NAME(DB_NAME(), 'DATABASE', 'BACKUP DATABASE'), "
    "HAS_PERMS_BY_NAME(NULL, NULL, 'CREATE ANY DATABASE'), "
    "CASE WHEN IS_SRVROLEMEMBER('sysadmin') = 1 OR IS_SRVROLEMEMBER('dbcreator') = 1 "
    "THEN 1 ELSE 0 END"
)


def identity(connection: BaseDatabaseWrapper) -> str:
    """Which database it is."""
    given = connection.settings_dict
    address = ":".join(filter(None, [given["HOST"] or "localhost", str(given["PORT"] or "")]))
    return f"sqlserver {address}/{given['NAME']}"


def exists(connection: BaseDatabaseWrapper) -> bool:
    """Whether the server has the database; without it there is nothing to connect to.

    One that a restore has left in its midst holds nothing yet. Raises BackupError for one that is
    there and cannot be asked.
    """
    database = _database(connection)
    with _session(connection, "master") as ask:
        status = _status(ask, database)
    if status in {None, _RESTORING}:
        return False
    if status != _ONLINE:
        raise BackupError(
            f"The database {database} is not online: {status}.",
            f"Bring it back (ALTER DATABASE {quoted_name(database)} SET ONLINE), or drop it if a "
            "backup shall take its place; then start again.",
        )
    return True


def is_damage(error: DatabaseError) -> bool:
    """Never: what the server says about a broken database is for its administrator."""
    return False


def back_up(connection: BaseDatabaseWrapper, draft: Draft) -> Copy:
    """Has the server write and read again a backup. Raises BackupError."""
    file = str(data_on_server(draft.name))
    with (
        _explained(f"SQL Server did not write the backup {file}"),
        _session(connection, _database(connection)) as ask,
    ):
        edition, version = _edition(ask)
        # Before the backup, which holds all that was there then, and what came meanwhile.
        content = content_of(asking(connection))
        try:
            ask(backup_statement(_database(connection), file, compressed=edition != _EXPRESS))
            ask(verify_statement(file))
        except AnyDatabaseError as error:
            raise _not_written(file, error) from error
    return Copy(
        data=file,
        data_is_on_server=True,
        content=content,
        rows_are_exact=False,
        server=f"SQL Server {version}",
        bytes=_size_if_seen(file),
        sha256=None,
    )


def restore(connection: BaseDatabaseWrapper, backup: Backup) -> None:
    """Has the server put the backup in the place of the database. Raises BackupError."""
    database, file = _database(connection), backup.manifest.data
    connection.close()  # it would be thrown out with all other users of the database
    with (
        _explained(f"SQL Server did not restore {file}"),
        _session(connection, "master") as ask,
    ):
        ask(verify_statement(file))
        listed = ask(f"RESTORE FILELISTONLY FROM DISK = {quoted_text(file)}")
        stored = [(str(name), str(kind)) for name, _, kind, *_ in listed]
        places = placements(database, stored, _files_now(ask, database), _folders(ask))
        try:
            ask(restore_statement(database, file, places, status=_status(ask, database)))
        except AnyDatabaseError as error:
            _bring_back(ask, database, error)
            raise
        # It has the mode it was backed up in, which may be one of maintenance.
        ask(f"ALTER DATABASE {quoted_name(database)} SET MULTI_USER")


def lacks(connection: BaseDatabaseWrapper, folder: Path) -> Iterator[BackupError]:
    """A folder on the server, and rights. Whether the server's own account may write the folder
    only a backup can tell."""
    yield from refusals(lambda: data_on_server("any"))
    with _session(connection, _database(connection)) as ask:
        try:
            _edition(ask)
        except BackupError as error:
            yield error
            return
        ((login, user, may_back_up, may_create, restores),) = ask(_RIGHTS_NOW)
    if not may_back_up:
        yield BackupError(
            f"The login {login} may not back up the database.",
            f"In the database: ALTER ROLE db_backupoperator ADD MEMBER {quoted_name(user)};",
        )
    if not may_create:
        yield BackupError(
            f"The login {login} may not read backups again, so none could be checked.",
            f"In master: GRANT CREATE ANY DATABASE TO {quoted_name(login)};",
        )
    if not restores:
        yield BackupError(
            f"The login {login} may not restore the database.",
            f"ALTER SERVER ROLE dbcreator ADD MEMBER {quoted_name(login)}; may be taken back when "
            "it is no longer needed (DROP MEMBER).",
        )


# --- statements -----------------------------------------------------------------------------------


def backup_statement(database: str, file: str, *, compressed: bool) -> str:
    """Writes the database into a new file."""
    options = "COPY_ONLY, CHECKSUM, INIT" + (", COMPRESSION" if compressed else "")
    return f"BACKUP DATABASE {quoted_name(database)} TO DISK = {quoted_text(file)} WITH {options}"


def verify_statement(file: str) -> str:
    """Reads the whole backup again, with its checksums."""
    return f"RESTORE VERIFYONLY FROM DISK = {quoted_text(file)} WITH CHECKSUM"


def restore_statement(
    database: str, file: str, places: Sequence[tuple[str, str]], *, status: str | None
) -> str:
    """One batch, so that nobody slips in between.

    `status` is that of the database, if the server has it: it refuses to touch even an empty one
    without REPLACE. Whether its content may go has been asked before. Offline, and not with a
    single user, because any login could be that one.
    """
    moves = "".join(f", MOVE {quoted_text(name)} TO {quoted_text(path)}" for name, path in places)
    name = quoted_name(database)
    offline = f"ALTER DATABASE {name} SET OFFLINE WITH ROLLBACK IMMEDIATE; "
    alone = offline if status == _ONLINE else ""
    options = "CHECKSUM, RECOVERY" + (", REPLACE" if status is not None else "")
    return f"{alone}RESTORE DATABASE {name} FROM DISK = {quoted_text(file)} WITH {options}{moves}"


def placements(
    database: str,
    stored: Sequence[tuple[str, str]],
    now: Sequence[tuple[str, str]],
    folders: tuple[str, str],
) -> list[tuple[str, str]]:
    """Where each file of the backup goes: where the database has its files now, else into the
    server's folders for new ones; never where the backed-up database had them, perhaps elsewhere.

    `stored`: logical name and type (D data, L log); `now`: path and type; `folders`: data, log.
    """
    free = {kind: [path for path, its_kind in now if its_kind == kind] for kind in ("D", "L")}
    stem = "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in database)
    places = []
    for number, (name, kind) in enumerate(stored):
        is_log = kind == "L"
        here = free["L" if is_log else "D"]
        new = on_server(folders[is_log]) / f"{stem}_{number}.{'ldf' if is_log else 'mdf'}"
        places.append((name, here.pop(0) if here else str(new)))
    return places


def quoted_name(name: str) -> str:
    """As an identifier."""
    return "[" + name.replace("]", "]]") + "]"


def quoted_text(text: str) -> str:
    """As a literal."""
    return "N'" + text.replace("'", "''") + "'"


# --- the server -----------------------------------------------------------------------------------


@contextmanager
def _session(connection: BaseDatabaseWrapper, database: str) -> Iterator[Ask]:
    """A connection of its own, outside of any transaction and without a limit of time."""
    own = connection.copy()
    own.settings_dict["NAME"] = database
    own.settings_dict["OPTIONS"]["query_timeout"] = 0

    def ask(sql: str) -> list[Any]:
        with own.cursor() as cursor:
            cursor.execute(sql)
            rows = list(cursor.fetchall()) if cursor.description else []
            # BACKUP and RESTORE tell their progress in further results, and stop working, or hide
            # their errors, where nobody reads on.
            while cursor.nextset():
                pass
            return rows

    with closing(own):
        yield ask


def _status(ask: Ask, database: str) -> str | None:
    """ONLINE, RESTORING, OFFLINE and the like; None where the server does not have it."""
    # The function's own type is one that drivers do not read.
    ((status,),) = ask(
        f"SELECT CAST(DATABASEPROPERTYEX({quoted_text(database)}, 'Status') AS nvarchar(60))"
    )
    return None if status is None else str(status)


def _bring_back(ask: Ask, database: str, refused: Exception) -> None:
    """Lets users in again after a restore that was refused, if nothing was replaced yet. Raises
    BackupError, with both reasons, where that is refused too."""
    online = f"ALTER DATABASE {quoted_name(database)} SET ONLINE"
    try:
        ask(f"IF DATABASEPROPERTYEX({quoted_text(database)}, 'Status') = 'OFFLINE' {online}")
    except AnyDatabaseError as error:
        raise BackupError(
            f"SQL Server did not restore the backup: {str(refused).strip()}. The database stays "
            f"offline: {str(error).strip()}.",
            f"As an administrator of the server: {online}; then cure the first.",
        ) from error


def _not_written(file: str, error: Exception) -> BackupError:
    """What BACKUP or its check refused; a file that is no whole backup goes, or is told."""
    remains = f" If {file} is on the server's disk now, remove it: it is none."
    with suppress(OSError):  # told instead
        if (seen := Path(file)).is_file():
            seen.unlink()
            remains = ""
    return BackupError(
        f"SQL Server did not write the backup {file}: {str(error).strip()}.", _RIGHTS + remains
    )


def _edition(ask: Ask) -> tuple[int, str]:
    """Number and version. Raises BackupError for a service that knows no BACKUP."""
    ((edition, version),) = ask(
        "SELECT CAST(SERVERPROPERTY('EngineEdition') AS int), "
        "CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(60))"
    )
    if edition in _WITHOUT_BACKUP:
        raise BackupError(
            "This service makes its backups itself and knows no BACKUP.",
            "Use the backups of the service, for example its restore to a point in time.",
        )
    return int(edition), str(version)


def _files_now(ask: Ask, database: str) -> list[tuple[str, str]]:
    rows = ask(
        "SELECT physical_name, CASE type WHEN 1 THEN 'L' ELSE 'D' END FROM sys.master_files "  # noqa: S608  # quoted
        f"WHERE database_id = DB_ID({quoted_text(database)}) ORDER BY file_id"
    )
    return [(str(path), str(kind)) for path, kind in rows]


def _folders(ask: Ask) -> tuple[str, str]:
    ((data, log),) = ask(
        "SELECT CAST(SERVERPROPERTY('InstanceDefaultDataPath') AS nvarchar(4000)), "
        "CAST(SERVERPROPERTY('InstanceDefaultLogPath') AS nvarchar(4000))"
    )
    return str(data), str(log)


def _database(connection: BaseDatabaseWrapper) -> str:
    return str(connection.settings_dict["NAME"])


def _size_if_seen(file: str) -> int | None:
    """Where server and application share a disk."""
    seen = Path(file)
    return seen.stat().st_size if seen.is_file() else None


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except AnyDatabaseError as error:  # a login that is refused now is no DatabaseError
        raise BackupError(f"{what}: {str(error).strip()}.", _RIGHTS) from error
