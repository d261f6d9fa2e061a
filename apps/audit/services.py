"""The one way to write history. Callers do it in the transaction of the change it tells about."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils import timezone

from apps.accounts.models import User
from apps.audit.models import AuditEvent, ERPChangeEvent, EventType
from apps.core.bulk import insert_rows


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts: a person, or the system under a name of its own. Never nobody."""

    name: str
    source: str
    user: User | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """What an audit event tells beside who, when and in which act."""

    event_type: EventType
    po_line_id: int | None = None
    supplier_id: int | None = None
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One field of one line that differs; values in canonical text."""

    po_line_id: int
    supplier_id: int
    field: str
    previous: str | None
    new: str | None
    difference: Decimal | None


def record(
    events: Iterable[Event], *, actor: Actor, correlation_id: uuid.UUID, effective_at: datetime
) -> int:
    """Writes audit events of one act; returns how many."""
    recorded_at = timezone.now()
    return insert_rows(
        AuditEvent,
        (
            "recorded_at",
            "effective_at",
            "event_type",
            "actor_id",
            "actor_name",
            "source",
            "correlation_id",
            "po_line_id",
            "supplier_id",
            "reason",
            "data",
        ),
        (
            (
                recorded_at,
                effective_at,
                event.event_type.value,
                actor.user.pk if actor.user else None,
                actor.name,
                actor.source,
                correlation_id,
                event.po_line_id,
                event.supplier_id,
                event.reason,
                json.dumps(event.data, ensure_ascii=False),
            )
            for event in events
        ),
    )


def record_changes(changes: Iterable[Change], *, run_id: int, effective_at: datetime) -> int:
    """Writes ERP change events of one run; returns how many."""
    recorded_at = timezone.now()
    return insert_rows(
        ERPChangeEvent,
        (
            "run_id",
            "po_line_id",
            "supplier_id",
            "field",
            "previous_value",
            "new_value",
            "difference",
            "recorded_at",
            "effective_at",
        ),
        (
            (
                run_id,
                change.po_line_id,
                change.supplier_id,
                change.field,
                change.previous,
                change.new,
                change.difference,
                recorded_at,
                effective_at,
            )
            for change in changes
        ),
    )
