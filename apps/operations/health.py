"""Is the application alive: in three facts that anybody may know, for IIS and for monitors, and in
more of them for the dashboard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as AnyDatabaseError
from django.utils import timezone

from apps.ingestion.history import Standing
from apps.operations.doctor import Diagnosis, examine
from apps.operations.waiting import Patience

# A server that hangs is unreachable for whoever waits; its own time-outs are longer.
ANSWER_WITHIN_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The newest run that was applied."""

    status: str
    finished_at: str
    age_seconds: int


@dataclass(frozen=True, kw_only=True)
class Health:
    """`status` is ok, degraded (works, but a newer run failed or none was applied yet) or error
    (no database, or the data are too old)."""

    status: str
    database: str
    last_run: LastRun | None = None

    @property
    def is_up(self) -> bool:
        return self.status != "error"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


UNREACHABLE = Health(status="error", database="unreachable")


def health() -> Health:
    """Asks the database, but waits for it a few seconds only."""
    if connections[DEFAULT_DB_ALIAS].vendor == "sqlite":
        return _ask()  # a file answers, or fails, at once: readers never wait there
    return _asked_in_time()


def look() -> Health:
    """What the database says now. Raises Django's database errors when it says nothing."""
    standing = Standing.now()
    applied = standing.applied
    if applied is None or applied.finished_at is None:
        return Health(status="degraded", database="ok")
    age = timezone.now() - applied.finished_at
    last_run = LastRun(
        status=applied.status,
        finished_at=applied.finished_at.isoformat(),
        age_seconds=round(age.total_seconds()),
    )
    status = "degraded" if standing.has_failed_since else "ok"
    if standing.is_overdue:
        status = "error"
    return Health(status=status, database="ok", last_run=last_run)


def _ask() -> Health:
    try:
        return look()
    except AnyDatabaseError:  # InterfaceError is no DatabaseError
        return UNREACHABLE


_patience = Patience(_ask, name="healthz")


def _asked_in_time() -> Health:
    return _patience.answer(within=ANSWER_WITHIN_SECONDS) or UNREACHABLE


# --- for the dashboard --------------------------------------------------------------------------

# A server of the ERP that does not answer is waited for until the driver gives up; a page is not.
ERP_WITHIN_SECONDS = 10.0


def server_health() -> Diagnosis:
    """What doctor finds about the application's own database, backups, disk and clock, as far as
    it is quick and writes nothing."""
    return examine("database", "migrations", "append-only", "size", "backups", "disk", "clock")


def erp_health() -> Diagnosis | None:
    """What doctor finds about the ERP; None if it does not answer within ERP_WITHIN_SECONDS."""
    return _erp_patience.answer(within=ERP_WITHIN_SECONDS)


_erp_patience = Patience(lambda: examine("mapping", "ERP"), name="erp-health")
