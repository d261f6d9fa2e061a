"""Backups as folders: how one comes to be, how it is recognised and checked, and how it goes.

    po-tracking-20261118T043512.123Z/      when it was begun, in UTC
        manifest.json                      what it is and what it holds; only whole backups have one
        data.sqlite3, data.dump            the data; SQL Server writes them to its own disk

It is written under a name that ends in `.partial` and gets its real one when it is whole and
checked, so that half a backup is never taken for one, whenever it was interrupted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import time
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from django.conf import settings

from apps.operations.backups.content import Content
from apps.operations.backups.errors import BackupError

logger = logging.getLogger(__name__)

PRODUCT = "PO Tracking"
FORMAT = 1
MANIFEST = "manifest.json"

_NAME = re.compile(r"po-tracking-\d{8}T\d{6}\.\d{3}Z")
_PARTIAL = ".partial"
# Longer than any backup is silent; after that whoever made it is gone.
_ABANDONED_AFTER_SECONDS = 24 * 3600
_OWNER_ONLY = 0o700


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup is, and what it holds."""

    product: str
    format: int
    product_version: str
    made_at: str  # ISO 8601, UTC
    engine: str  # as the modules of this package are called
    server: str  # the engine's own version
    database: str  # which one, so that installations may share a folder
    migrations: dict[str, str]
    rows: dict[str, int]
    rows_are_exact: bool  # False: counted just before, and some may have been added since
    data: str  # a file beside the manifest, or a path on the server's disk
    data_is_on_server: bool
    bytes: int | None  # None where only the server can see the file
    sha256: str | None


@dataclass(frozen=True)
class Backup:
    """A whole backup."""

    folder: Path
    manifest: Manifest

    @property
    def data(self) -> Path:
        """The data file, where it stands beside the manifest."""
        return self.folder / self.manifest.data

    @property
    def content(self) -> Content:
        """What it holds, as its manifest tells."""
        return Content(migrations=self.manifest.migrations, rows=self.manifest.rows)

    def ensure_undamaged(self) -> None:
        """Compares the data with the manifest. Raises BackupError."""
        if self.manifest.data_is_on_server:
            return  # the server checks it, with checksums of its own
        with _explained(self.folder):
            found = self.data.stat().st_size
            if found != self.manifest.bytes:
                raise _damaged(self, f"has {found:,} bytes instead of {self.manifest.bytes:,}")
            if _sha256(self.data) != self.manifest.sha256:
                raise _damaged(self, "is not what was written then (its checksum differs)")


@dataclass(frozen=True)
class Pruned:
    """Older backups that went, and those that could not be removed."""

    removed: list[str]
    left: dict[str, str]  # folder -> why, and what to do


class Draft:
    """A backup that is being written."""

    def __init__(self, folder: Path) -> None:
        self.made_at = datetime.now(UTC)
        self.name = (
            f"po-tracking-{self.made_at:%Y%m%dT%H%M%S}.{self.made_at.microsecond // 1000:03}Z"
        )
        self.folder = folder / f"{self.name}{_PARTIAL}"
        self._final = folder / self.name

    def new_file(self, name: str) -> Path:
        """An empty file that only its owner can read."""
        file = self.folder / name
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        return file

    def complete(self, manifest: Manifest) -> Backup:
        """Makes a backup of the draft: on the disk for good, then under its name."""
        file = self.new_file(MANIFEST)
        text = json.dumps(asdict(manifest), ensure_ascii=False, indent=2)
        file.write_text(text + "\n", encoding="utf-8")
        for written in self.folder.iterdir():
            _flush(written)
        _flush_folder(self.folder)
        self.folder.rename(self._final)
        _flush_folder(self._final.parent)
        return Backup(self._final, manifest)


@contextmanager
def draft(folder: Path) -> Iterator[Draft]:
    """A new draft in the folder, which is made if need be. Nothing is left of one that fails.

    Raises BackupError for whatever the disk refuses.
    """
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        new = Draft(folder)
        new.folder.mkdir(mode=_OWNER_ONLY)
        try:
            yield new
        finally:
            shutil.rmtree(new.folder, ignore_errors=True)  # under its real name it is out of reach


def read(path: Path) -> Backup:
    """The backup in this folder. Raises BackupError where there is none."""
    if path.name.endswith(_PARTIAL):
        raise BackupError(
            f"{path} is a backup that was never finished.", "Restore one without .partial."
        )
    choose = "Give the folder that backup printed: it has a manifest.json."
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(f"{path} is no backup of PO Tracking.", choose) from None
    except OSError as error:
        raise _refused(error, path) from error
    try:
        manifest = _parsed(text)
    except ValueError as error:
        raise BackupError(f"The manifest in {path} cannot be used: {error}.", choose) from error
    return Backup(path, manifest)


def newest(folder: Path, *, database: str) -> Backup | None:
    """The last whole backup of this database there. Raises OSError for an unreadable folder."""
    backups = _backups_in(folder, database) if folder.is_dir() else []
    return backups[-1] if backups else None


def prune(folder: Path, *, database: str, keep: int) -> Pruned:
    """Removes this database's whole backups in the folder but for the newest `keep`.

    Whatever else is there stays: other people's files, and backups of other installations. One
    that cannot be removed stays too, and is told; by now there is a new backup in any case.
    """
    removed: list[str] = []
    left: dict[str, str] = {}
    try:
        old = _backups_in(folder, database)[:-keep]
    except OSError as error:
        return Pruned([], {str(folder): _in_words(_refused(error, folder))})
    for backup in old:
        try:
            why = _remove(backup)
        except FileNotFoundError:
            continue  # another backup removes old ones at the same time
        except OSError as error:
            why = _in_words(_refused(error, backup.folder))
        if why:
            left[str(backup.folder)] = why
        else:
            removed.append(str(backup.folder))
    return Pruned(removed, left)


def on_server(folder: str) -> PurePath:
    """A folder in the manner of the server's system, which need not be ours."""
    is_windows = "\\" in folder or folder[1:2] == ":"
    return PureWindowsPath(folder) if is_windows else PurePosixPath(folder)


def data_on_server(name: str) -> PurePath:
    """What SQL Server writes for a backup of this name. Raises BackupError without a folder."""
    folder: str = settings.BACKUP_SQLSERVER_DIR
    if not folder:
        raise BackupError(
            "SQL Server writes backups to a folder of its own machine, and none is configured.",
            "Set BACKUP_SQLSERVER_DIR to a folder as the server sees it (.env.example).",
        )
    return on_server(folder) / f"{name}.bak"


def ensure_writable(folder: Path) -> None:
    """Raises BackupError where nothing can be written. Makes nothing that stays, so it tries the
    nearest folder that is there where this one is still to be made."""
    # Not tempfile: on Windows it takes a refusal for a name in use, and tries ten thousand.
    try:
        probe = _nearest(folder) / f"po-tracking-check-{uuid.uuid4().hex}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise _refused(OSError(error.errno, error.strerror), folder) from error


def ensure_room(folder: Path, needed: int) -> None:
    """Raises BackupError where fewer bytes are free, in the folder or where it will be made."""
    with _explained(folder):
        free = shutil.disk_usage(_nearest(folder)).free
    if free < needed:
        raise BackupError(
            f"There is not enough room in {folder}: {needed / 1e6:,.0f} MB are needed, "
            f"{free / 1e6:,.0f} MB are free.",
            "Make room on that disk, or use another one.",
        )


def sized(file: Path) -> tuple[int, str]:
    """Size and checksum, as the manifest keeps them."""
    return file.stat().st_size, _sha256(file)


def product_version() -> str:
    """The version of this installation."""
    text = (settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8")
    version: str = tomllib.loads(text)["project"]["version"]
    return version


def _parsed(text: str) -> Manifest:
    """Raises ValueError, which says what is wrong with the text."""
    values: Any = json.loads(text)
    if not isinstance(values, dict) or values.get("product") != PRODUCT:
        raise ValueError("it is not PO Tracking's")
    if values.get("format") != FORMAT:
        raise ValueError(f"its format {values.get('format')} is not known to this version")
    names = [field.name for field in fields(Manifest)]
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return Manifest(**{name: values[name] for name in names})


def _backups_in(folder: Path, database: str) -> list[Backup]:
    """The oldest first."""
    found = []
    for path in sorted(folder.iterdir()):
        if not _NAME.fullmatch(path.name):
            continue
        try:
            backup = read(path)
        except BackupError:
            continue  # looks like one of ours, but we cannot prove it
        if backup.manifest.database == database:
            found.append(backup)
    return found


def _remove(backup: Backup) -> str:
    """Why it stays; empty if it is gone. Raises OSError, and then it is as it was."""
    data, why = _data_to_remove(backup)
    if why:
        return why
    # Renamed first: half a removed backup must not be taken for a whole one.
    doomed = backup.folder.rename(backup.folder.with_name(backup.folder.name + _PARTIAL))
    try:
        if data is not None:
            data.unlink()
    except OSError:
        doomed.rename(backup.folder)
        raise
    with suppress(FileNotFoundError):  # another backup takes it for what a killed one left
        shutil.rmtree(doomed)
    return ""


def _data_to_remove(backup: Backup) -> tuple[Path | None, str]:
    """The file outside of the folder, if there is one, or why it must not or cannot be removed.

    A manifest is a file like any other, and names a path; only what a backup of this name would
    have written is ours.
    """
    if not backup.manifest.data_is_on_server:
        return None, ""
    data = backup.manifest.data
    try:
        expected = data_on_server(backup.folder.name)
    except BackupError as error:
        return None, _in_words(error)
    if type(expected)(data) != expected:
        return None, (
            f"Its manifest names {data}, which is not {expected} (BACKUP_SQLSERVER_DIR): look "
            "there, and remove both yourself."
        )
    if not Path(data).is_file():
        return None, (
            "Its data are on the server's disk, which this machine does not see: remove "
            f"{data} there, then this folder."
        )
    return Path(data), ""


def _remove_abandoned(folder: Path) -> None:
    """What backups left that were killed. What cannot be removed stays in nobody's way."""
    for path in folder.iterdir():
        if not (path.name.endswith(_PARTIAL) and _NAME.fullmatch(path.name[: -len(_PARTIAL)])):
            continue
        try:
            touched = max(file.stat().st_mtime for file in (path, *path.iterdir()))
            if time.time() - touched > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(path)
        except (FileNotFoundError, NotADirectoryError):
            continue  # another backup is at work here, or it is none
        except OSError as error:
            logger.warning("What a killed backup left cannot be removed: %s", error)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.exists())


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _flush(file: Path) -> None:
    """Waits until the disk has it."""
    with file.open("rb+") as written:
        os.fsync(written.fileno())


def _flush_folder(folder: Path) -> None:
    """The same for the names in a folder; Windows has no way to ask and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(backup: Backup, how: str) -> BackupError:
    return BackupError(
        f"The backup in {backup.folder} is damaged: {backup.manifest.data} {how}.",
        "Nothing was changed. Copy it again from where it was kept, or use an older backup.",
    )


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(error, folder) from error


def _in_words(error: BackupError) -> str:
    return f"{error.message} {error.remedy}"


def _refused(error: OSError, folder: Path) -> BackupError:
    """What the disk refused, in words."""
    where = error.filename or folder
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return BackupError(
            f"The disk of {folder} is full.", "Make room on that disk, or use another one."
        )
    return BackupError(
        f"{where} cannot be used: {error.strerror or error}.",
        "Give the account that runs PO Tracking the right to read and write there, or name another "
        "folder.",
    )
