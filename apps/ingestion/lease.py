"""Keeps runs apart: one row, taken by compare-and-set, with an expiry (design.md "One run")."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime, timedelta

import psutil
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from apps.ingestion.errors import LeaseLostError, RunActiveError
from apps.ingestion.models import IngestionLease, IngestionRun

# Two clocks that measure one start may differ by the resolution of the system's tick.
_START_TOLERANCE_SECONDS = 2.0


class Lease:
    """The right to run, held by this process."""

    def __init__(self) -> None:
        self.token = uuid.uuid4()
        self._renew_at = timezone.now()

    @staticmethod
    def ensure_free() -> None:
        """Raises RunActiveError while a live process holds the lease. Only reads, so that it
        answers at once even while that process applies its night."""
        row = IngestionLease.objects.filter(pk=1).first()
        if row is not None and _is_alive(row):
            raise _active(row)

    @classmethod
    def acquire(cls) -> Lease:
        """Takes the lease, or raises RunActiveError while another live process holds it.

        Call it in the transaction that deals with what a dead holder left behind.
        """
        row, _ = IngestionLease.objects.get_or_create(pk=1)
        if _is_alive(row):
            raise _active(row)
        lease = cls()
        taken = IngestionLease.objects.filter(pk=1, token=row.token).update(
            token=lease.token,
            run=None,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started=psutil.Process().create_time(),
            expires_at=lease._next_expiry(),
        )
        if not taken:
            raise _active(row)
        return lease

    def assign(self, run: IngestionRun) -> None:
        """Notes which run the lease is for."""
        self._compare_and_set(run=run)

    def renew_if_due(self) -> None:
        """Moves the expiry when a tenth of the time has passed. Raises LeaseLostError."""
        if timezone.now() >= self._renew_at:
            with transaction.atomic():
                self.renew()

    def renew(self) -> None:
        """Moves the expiry. Raises LeaseLostError if the lease was taken over."""
        self._compare_and_set(expires_at=self._next_expiry())

    def release(self) -> None:
        """Gives the lease back, as part of the caller's transaction. Raises LeaseLostError."""
        self._compare_and_set(token=None, run=None, expires_at=None)

    def release_if_held(self) -> None:
        """Gives the lease back unless somebody else has it by now."""
        IngestionLease.objects.filter(pk=1, token=self.token).update(
            token=None, run=None, expires_at=None
        )

    def _compare_and_set(self, **values: object) -> None:
        if not IngestionLease.objects.filter(pk=1, token=self.token).update(**values):
            raise LeaseLostError(
                "Another run took over because this one seemed dead; nothing of this run was "
                "applied.",
                "Look at the newer run with ingestion_history. If runs take longer than "
                "INGESTION_LEASE_SECONDS, raise that setting.",
            )

    def _next_expiry(self) -> datetime:
        now = timezone.now()
        seconds = settings.INGESTION_LEASE_SECONDS
        self._renew_at = now + timedelta(seconds=seconds / 10)
        return now + timedelta(seconds=seconds)


def is_stopped(lease: IngestionLease | None, run: IngestionRun) -> bool:
    """Whether a run still marked running has in truth stopped: nobody alive holds its lease."""
    if run.status != "running":
        return False
    return lease is None or lease.run_id != run.pk or not _is_alive(lease)


def _is_alive(lease: IngestionLease) -> bool:
    """Whether the holder may still work: not expired and, on this host, its process exists."""
    if lease.token is None or lease.expires_at is None or lease.expires_at <= timezone.now():
        return False
    if lease.host != socket.gethostname() or lease.pid is None:
        return True
    try:
        holder = psutil.Process(lease.pid)
        if holder.status() == psutil.STATUS_ZOMBIE:
            return False  # ended, only nobody has asked how
        started = holder.create_time()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return (
        lease.process_started is None
        or abs(started - lease.process_started) <= _START_TOLERANCE_SECONDS
    )


def _active(lease: IngestionLease) -> RunActiveError:
    where = f"process {lease.pid} on {lease.host}" if lease.pid else "another process"
    return RunActiveError(
        f"Another ingestion run is active ({where}).",
        "Wait for it to end, then look at ingestion_history; this call changed nothing.",
    )
