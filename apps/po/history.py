"""From when on a user sees a line: it may have been another supplier's before (law 9)."""

from __future__ import annotations

from datetime import datetime

from django.contrib.auth.models import AnonymousUser
from django.db.models import Exists, OuterRef

from apps.accounts.models import User
from apps.audit.models import ERPChangeEvent
from apps.po.models import POLine


def known_since(line: POLine, user: User | AnonymousUser) -> datetime:
    """Since when the user has seen the line without a break: since it was first seen, or last came
    from a supplier that the user does not have. One query."""
    since = line.first_seen_at
    for moved_at, was_the_users in _moves(line, user):
        if not was_the_users:
            since = moved_at
    return since


def first_known(line: POLine, user: User | AnonymousUser) -> datetime:
    """From when on the user may see anything of the line, breaks included. One query."""
    since = line.first_seen_at
    for moved_at, was_the_users in _moves(line, user):
        if was_the_users:
            break
        since = moved_at
    return since


def _moves(line: POLine, user: User | AnonymousUser) -> list[tuple[datetime, bool]]:
    """When the line moved to another supplier, and whether it was one of the user's until then."""
    moves = ERPChangeEvent.objects.filter(po_line=line, field="supplier_code")
    # A change carries the supplier that the line had before it.
    own = ERPChangeEvent.objects.for_user(user).filter(pk=OuterRef("pk"))
    found = moves.annotate(was_the_users=Exists(own)).order_by("effective_at", "pk")
    return list(found.values_list("effective_at", "was_the_users"))
