"""Administrators made from the command line, of which a new installation needs the first.

Here and not in `accounts`, which knows no audit: a new account with every right is an event.
"""

from __future__ import annotations

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Role, User
from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType


def has_administrator() -> bool:
    """Whether anybody can sign in as an administrator."""
    return User.objects.filter(role=Role.ADMIN, is_active=True).exists()


def check_name(name: str) -> str:
    """The name as it will be stored.

    Raises ValidationError if somebody has it already. A name that differs only in case counts as
    the same: SQL Server makes no difference, and people make none either.
    """
    name = User.normalize_username(name)
    if User.objects.filter(username__iexact=name).exists():
        raise ValidationError(f'There is a user "{name}" already. Choose another name.')
    return name


def create_administrator(*, name: str, email: str, password: str, actor: audit.Actor) -> User:
    """Makes an active administrator, with the audit event that tells so, in one transaction.

    Raises ValidationError, with all reasons, if name, e-mail or password will not do.
    """
    user = User(username=check_name(name), email=email, role=Role.ADMIN)
    user.set_password(password)
    user.full_clean()
    validate_password(password, user)
    with transaction.atomic():
        user.save()
        audit.record(
            [
                audit.Event(
                    event_type=EventType.USER_CREATED,
                    data={"user": user.pk, "username": user.username, "role": user.role},
                )
            ],
            actor=actor,
            correlation_id=AuditEvent.new_correlation_id(),
            effective_at=timezone.now(),
        )
    return user
