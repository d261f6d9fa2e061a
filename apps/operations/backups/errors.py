"""What can go wrong with a backup or a restore."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import Logger

from django.db import Error as AnyDatabaseError

from apps.ingestion.errors import IngestionError, RunActiveError, UsageError


class BackupError(IngestionError):
    """The backup was not made, or could not be restored: exit code 1."""


def refusals(*checks: Callable[[], object]) -> Iterator[BackupError]:
    """What each of them refuses; one that does keeps no other from looking."""
    for check in checks:
        try:
            check()
        except BackupError as error:
            yield error


@contextmanager
def logged(logger: Logger, what: str) -> Iterator[None]:
    """Failures go into the log too: what a scheduler runs at night has no screen."""
    try:
        yield
    except (UsageError, RunActiveError) as error:
        logger.warning("%s: %s", what, error)
        raise
    except (IngestionError, AnyDatabaseError) as error:
        logger.error("%s: %s", what, error)
        raise
