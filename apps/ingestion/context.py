"""What the stages of one run share, and what each of them returns."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from apps.audit.services import Actor
from apps.ingestion.erp.mapping import ErpMapping
from apps.ingestion.erp.reader import ErpReader
from apps.ingestion.erp.rows import RowReader
from apps.ingestion.errors import Notice, StoppedError
from apps.ingestion.lease import Lease
from apps.ingestion.models import IngestionRun, Mode

if TYPE_CHECKING:
    from apps.ingestion.xref import Xref

INGESTION = Actor(name="ERP ingestion", source="ingestion")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How the run was asked for; the meaning of each is the command's."""

    baseline: bool = False
    accept_drop: bool = False
    as_of: date | None = None


class Progress(Protocol):
    """Somebody who watches a run; a context while it lasts."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def stage(self, name: str) -> None:
        """A stage begins."""

    def rows(self, done: int, expected: int) -> None:
        """So many ERP rows were read, of about so many."""


class NoProgress:
    """Nobody watches."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def stage(self, name: str) -> None:
        pass

    def rows(self, done: int, expected: int) -> None:
        pass


class Stop:
    """A wish that the run ends, heard between chunks and while pausing."""

    def __init__(self) -> None:
        self._wished = threading.Event()

    def wish(self) -> None:
        """Asks the run to end; safe to call from a signal handler."""
        self._wished.set()

    def check(self) -> None:
        """Raises StoppedError if the run shall end."""
        if self._wished.is_set():
            raise StoppedError(
                "The run was asked to stop (SIGTERM or Ctrl+C) and ended cleanly; nothing was "
                "applied.",
                "Start it again with run_ingestion, or wait for the next scheduled run.",
            )

    def pause(self, seconds: float) -> None:
        """Waits, but not longer than the wish to end."""
        self._wished.wait(seconds)
        self.check()


@dataclass
class Extract:
    """What the reading of the ERP leaves beside the snapshot rows."""

    accepted: int = 0
    last_settled: int = 0  # snapshot rows up to this one have no duplicates
    rejected: int = 0
    supplier_codes: set[str] = field(default_factory=set)
    supplier_names: Counter[tuple[str, str]] = field(default_factory=Counter)
    item_codes: Counter[tuple[str, str]] = field(default_factory=Counter)  # with their supplier
    unknown_codes: Counter[str] = field(default_factory=Counter)
    unreadable_custom: Counter[str] = field(default_factory=Counter)
    aged_unreadable: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    duplicates: int = 0
    # Active lines that neither the extract nor the look-ups showed, as (presence, primary key).
    missing: list[tuple[str, int]] = field(default_factory=list)
    overridden: list[str] = field(default_factory=list)


@dataclass
class StageResult:
    """Counters of the report that a stage fills, and what people should know."""

    counts: dict[str, int] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    failed: bool = False


@dataclass
class RunContext:
    """One run: its record, its ERP, its lease, its watcher."""

    run: IngestionRun
    options: RunOptions
    mapping: ErpMapping
    reader: ErpReader
    rows: RowReader
    lease: Lease
    previous_run: IngestionRun | None
    progress: Progress = field(default_factory=NoProgress)
    stop: Stop = field(default_factory=Stop)
    extract: Extract = field(default_factory=Extract)
    xref: Xref | None = None  # as stage 2 found it; all later stages use the same
    actor: Actor = INGESTION

    @property
    def is_baseline(self) -> bool:
        return self.run.mode == Mode.BASELINE

    def pause(self, seconds: float) -> None:
        """Waits before another attempt, keeping the lease."""
        self.stop.pause(seconds)
        self.lease.renew_if_due()

    def breathe(self) -> None:
        """Called between chunks: ends the run if asked to, else keeps the lease."""
        self.stop.check()
        self.lease.renew_if_due()
