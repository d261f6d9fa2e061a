"""Who can sign in to the demo: one person of each role."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Role, User
from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType
from apps.po.models import Supplier

# Columns that people fill, beside those that the ERP feeds.
PEOPLES_COLUMNS = {"custom_text_2": "Remark", "custom_date_2": "Follow up on"}
# An expeditor works for one supplier in so many.
_ONE_IN = 3


@dataclass(frozen=True, kw_only=True)
class Person:
    """Everybody who reads this knows the password: only a demo on its own databases has it."""

    name: str
    first_name: str
    role: Role
    password: str


PEOPLE = tuple(
    Person(name=name, first_name=name.title(), role=role, password=f"demo-for-{name}-only")
    for name, role in (("wei", Role.EXPEDITOR), ("katrin", Role.PLANNER), ("anna", Role.ADMIN))
)


def settle_people(*, actor: audit.Actor) -> None:
    """Sees to it that each of them can sign in with the password that the demo prints."""
    for person in PEOPLE:
        user = User.objects.filter(username=person.name).first()
        if user is None:
            _create(person, actor)
        elif not (user.is_active and user.check_password(person.password)):
            user.is_active = True
            user.set_password(person.password)
            user.save(update_fields=["is_active", "password"])


def _create(person: Person, actor: audit.Actor) -> None:
    user = User(username=person.name, first_name=person.first_name, role=person.role)
    user.set_password(person.password)
    with transaction.atomic():
        user.save()
        if person.role == Role.EXPEDITOR:
            user.suppliers.set(Supplier.objects.order_by("code")[::_ONE_IN])
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
