"""SQLite: its own online backup, in both directions.

The copy is the database as it stood at one moment, whatever is being written meanwhile. On the way
back the whole copy is one transaction of the target: readers and a web server that has the file
open see the old state until it is committed, and a restore that is killed leaves the old one.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.operations.backups.archive import (
    Backup,
    Draft,
    ensure_room,
    ensure_writable,
    sized,
)
from apps.operations.backups.content import content_of
from apps.operations.backups.copy import Copy
from apps.operations.backups.errors import BackupError, refusals

ENGINE = "sqlite"

_DATA = "data.sqlite3"
# Between two steps the copy looks whether it has waited too long; a step is a few megabytes.
_PAGES_A_STEP = 1_000
_SECONDS_TO_WAIT = 30
_WAITING = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_NO_DATABASE = frozenset({"SQLITE_NOTADB", "SQLITE_CORRUPT"})


def identity(connection: BaseDatabaseWrapper) -> str:
    """Which database it is."""
    return f"sqlite {file_of(connection).absolute().as_posix()}"


def exists(connection: BaseDatabaseWrapper) -> bool:
    """Whether there is a database; connecting would make an empty one."""
    file = file_of(connection)
    return file.is_file() and file.stat().st_size > 0


def is_damage(error: DatabaseError) -> bool:
    """Whether the error says that the file is no database any more."""
    return getattr(error.__cause__, "sqlite_errorname", "") in _NO_DATABASE


def back_up(connection: BaseDatabaseWrapper, draft: Draft) -> Copy:
    """Copies the database into the draft and checks the copy. Raises BackupError."""
    with _explained("The database cannot be copied"), closing(_reading(connection)) as source:
        ((pages,),) = source.execute("PRAGMA page_count")
        ((page_size,),) = source.execute("PRAGMA page_size")
        ensure_room(draft.folder, pages * page_size)
        file = draft.new_file(_DATA)
        with closing(sqlite3.connect(file, isolation_level=None)) as copy:
            # One read transaction for all steps; without it each step would see newer pages.
            source.execute("BEGIN")
            source.execute("SELECT COUNT(*) FROM sqlite_master")
            source.backup(copy, pages=_PAGES_A_STEP, progress=_giving_up())
            # The copy is one file, without the log of changes that the source keeps beside itself.
            copy.execute("PRAGMA journal_mode=DELETE")
            damage = _damage_of(copy)
            if damage:
                raise BackupError(
                    f"The database {file_of(connection)} is damaged: {damage}. No backup was made.",
                    "Keep the file and your last backups. Stop PO Tracking, then restore the last "
                    "good backup.",
                )
            content = content_of(lambda sql: copy.execute(sql).fetchall())
    size, checksum = sized(file)
    return Copy(
        data=_DATA,
        content=content,
        server=f"SQLite {sqlite3.sqlite_version}",
        bytes=size,
        sha256=checksum,
    )


def restore(connection: BaseDatabaseWrapper, backup: Backup) -> None:
    """Puts the backup in the place of what is there, all or nothing. Raises BackupError."""
    target = _target(connection, backup.data.stat().st_size)
    with (
        _explained(f"{target} cannot be restored; what it held is still there"),
        # Immutable: nothing is written beside the backup, which may be on a read-only disk.
        closing(sqlite3.connect(_uri(backup.data, "immutable=1"), uri=True)) as source,
    ):
        # Counted here because the target may be written by others as soon as it is restored.
        damage = _damage_of(source) or content_of(lambda sql: source.execute(sql).fetchall()).lacks(
            backup.content, more_is_fine=False
        )
        if damage:
            raise BackupError(
                f"The backup in {backup.folder} is damaged: {damage}.", "Use an older backup."
            )
        try:
            _replace(target, source)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "") not in _NO_DATABASE:
                raise
            _set_aside(target)
            _replace(target, source)


def lacks(connection: BaseDatabaseWrapper, folder: Path) -> Iterator[BackupError]:
    """Room for the copy, and a target that can be written."""
    file = file_of(connection)
    size = file.stat().st_size
    yield from refusals(
        lambda: ensure_room(folder, size),
        lambda: _target(connection, size),
        lambda: ensure_writable(file.parent),
    )


def file_of(connection: BaseDatabaseWrapper) -> Path:
    """The database's file. Raises BackupError for a database in memory."""
    name = str(connection.settings_dict["NAME"])
    if ":memory:" in name or "mode=memory" in name:
        raise BackupError(
            "A database in memory has no backup.", "Name a file in DATABASE_URL (.env.example)."
        )
    return Path(unquote(re.sub(r"^file:(.*?)(\?.*)?$", r"\1", name)))


def _reading(connection: BaseDatabaseWrapper) -> sqlite3.Connection:
    uri = _uri(file_of(connection), "mode=ro")
    return sqlite3.connect(uri, uri=True, timeout=_SECONDS_TO_WAIT, isolation_level=None)


def _target(connection: BaseDatabaseWrapper, size: int) -> Path:
    """The file that a backup of this size goes into. Raises BackupError where it cannot."""
    if str(connection.settings_dict["NAME"]).startswith("file:"):
        raise BackupError(
            "This installation opens its database read-only; nothing was changed.",
            "Restore where the database is written, with the production settings.",
        )
    target = file_of(connection)
    if not target.parent.is_dir():
        raise BackupError(
            f"There is no folder {target.parent}.", "Make it, or correct DATABASE_URL."
        )
    # The log of changes holds the whole copy until it has been carried over.
    ensure_room(target.parent, 2 * size)
    return target


def _replace(target: Path, source: sqlite3.Connection) -> None:
    database = sqlite3.connect(target, timeout=_SECONDS_TO_WAIT, isolation_level=None)
    with closing(database):
        source.backup(database, pages=_PAGES_A_STEP, progress=_giving_up())
        # Carried over now rather than by the next who opens it; not needed for it to be right.
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _giving_up() -> Callable[[int, int, int], None]:
    """Called after each step, for otherwise a copy waits for other writers without an end."""
    waiting_since: float | None = None

    def watch(status: int, remaining: int, total: int) -> None:
        nonlocal waiting_since
        if status not in _WAITING:
            waiting_since = None
        elif waiting_since is None:
            waiting_since = time.monotonic()
        elif time.monotonic() - waiting_since > _SECONDS_TO_WAIT:
            raise BackupError(
                "The database is being written by another process; nothing was changed.",
                "Wait for it to end, or stop PO Tracking's services, then start again.",
            )

    return watch


def _set_aside(target: Path) -> None:
    """Moves a file that is no database out of the way. Its log goes first: SQLite would play it
    into the new file."""
    stamp = f"{time.time():.0f}"
    for suffix in ("-wal", "-shm", "-journal", ""):
        file = Path(f"{target}{suffix}")
        if file.exists():
            file.rename(Path(f"{target}.damaged-{stamp}{suffix}"))


def _damage_of(connection: sqlite3.Connection) -> str:
    """The first thing that SQLite finds wrong in its structure; empty when all is well."""
    ((found, *_), *_) = connection.execute("PRAGMA integrity_check(1)").fetchall()
    return "" if found == "ok" else str(found).splitlines()[-1].rstrip(".")


def _uri(file: Path, option: str) -> str:
    return f"file:{quote(file.absolute().as_posix())}?{option}"


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        remedy = "Look at the disk and at the rights of the account that runs PO Tracking."
        if getattr(error, "sqlite_errorname", "") == "SQLITE_FULL":
            remedy = "The disk is full: make room there, then start again."
        elif getattr(error, "sqlite_errorname", "") in _NO_DATABASE:
            remedy = "The file is damaged: restore the last good backup."
        raise BackupError(f"{what}: {error}.", remedy) from error
    except OSError as error:
        raise BackupError(
            f"{what}: {error.strerror or error} ({error.filename}).",
            "Close whatever has the file open (stop PO Tracking's services), then start again.",
        ) from error
