"""The engines that can be backed up, and what each of their modules offers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, cast

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.operations.backups import postgresql, sqlite, sqlserver
from apps.operations.backups.archive import Backup, Draft
from apps.operations.backups.copy import Copy
from apps.operations.backups.errors import BackupError


class Engine(Protocol):
    """The module of an engine. All but `is_damage` may raise BackupError or DatabaseError."""

    ENGINE: str
    identity: Callable[[BaseDatabaseWrapper], str]
    exists: Callable[[BaseDatabaseWrapper], bool]
    is_damage: Callable[[DatabaseError], bool]
    back_up: Callable[[BaseDatabaseWrapper, Draft], Copy]
    restore: Callable[[BaseDatabaseWrapper, Backup], None]
    # What a backup into this folder, or its restore, would lack; asks only.
    lacks: Callable[[BaseDatabaseWrapper, Path], Iterator[BackupError]]


_ENGINES = {
    name: cast(Engine, module)
    for name, module in (("sqlite", sqlite), ("postgresql", postgresql), ("microsoft", sqlserver))
}


def engine_of(connection: BaseDatabaseWrapper) -> Engine:
    """The module for this connection."""
    return _ENGINES[connection.vendor]
