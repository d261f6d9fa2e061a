"""From when on a user sees a line: it may have been another supplier's before (law 9)."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import AnonymousUser
from django.db.models import Max

from apps.accounts.models import User
from apps.audit.models import ERPChangeEvent
from apps.po.models import POLine


def known_since(line: POLine, user: User | AnonymousUser) -> datetime:
    """When the line was first seen, or when it last came from a supplier that the user does not
    have: nothing may be told of the time before. One query."""
    moves = ERPChangeEvent.objects.filter(po_line=line, field="supplier_code")
    own = ERPChangeEvent.objects.for_user(user).filter(po_line=line, field="supplier_code")
    # A change carries the supplier that the line had before it.
    came: datetime | None = moves.exclude(pk__in=own.values("pk")).aggregate(
        last=Max("effective_at")
    )["last"]
    return came or line.first_seen_at
