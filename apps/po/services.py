"""What people and commands do to lines and their settings: rule, change and event in one place."""

from __future__ import annotations

import difflib
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType
from apps.po.models import CUSTOM_SLOTS, CustomColumn

_SETTINGS = ("label", "source", "erp_column", "active")


def configure_custom_column(
    *,
    slot: str,
    actor: audit.Actor,
    label: str | None = None,
    source: str | None = None,
    erp_column: str | None = None,
    active: bool | None = None,
) -> tuple[CustomColumn, bool]:
    """Sets up a custom column or changes what is given of it, with one audit event.

    Values on lines are not touched: a column that people fill from now on keeps what the ERP said,
    a deactivated one keeps everything. Returns the column and whether anything changed. Raises
    ValidationError.
    """
    if slot not in CUSTOM_SLOTS:
        close = difflib.get_close_matches(slot, CUSTOM_SLOTS, n=1)
        hint = f', did you mean "{close[0]}"?' if close else ""
        raise ValidationError(
            f'There is no slot "{slot}"{hint} There are {CUSTOM_SLOTS[0]} to {CUSTOM_SLOTS[4]}, '
            f"{CUSTOM_SLOTS[5]} to {CUSTOM_SLOTS[9]} and {CUSTOM_SLOTS[10]} to {CUSTOM_SLOTS[14]}."
        )
    with transaction.atomic():
        existing = CustomColumn.objects.select_for_update().filter(slot=slot).first()
        previous = _settings_of(existing)
        column = existing or CustomColumn(slot=slot)
        for name, value in (
            ("label", label),
            ("source", source),
            ("erp_column", erp_column),
            ("active", active),
        ):
            if value is not None:
                setattr(column, name, value.strip() if isinstance(value, str) else value)
        if source == CustomColumn.Source.USER and erp_column is None:
            column.erp_column = ""
        _validate(column)
        new = _settings_of(column)
        if new == previous:
            return column, False
        column.save()
        audit.record(
            [
                audit.Event(
                    event_type=EventType.CUSTOM_COLUMN_CONFIGURED,
                    data={"slot": slot, "previous": previous, "new": new},
                )
            ],
            actor=actor,
            correlation_id=AuditEvent.new_correlation_id(),
            effective_at=timezone.now(),
        )
    return column, True


def _settings_of(column: CustomColumn | None) -> dict[str, Any] | None:
    return None if column is None else {name: getattr(column, name) for name in _SETTINGS}


def _validate(column: CustomColumn) -> None:
    """Everything that is wrong with a column's settings, at once."""
    problems = []
    if not column.label:
        problems.append("The column needs a label.")
    elif len(column.label) > 60 or not column.label.isprintable():
        problems.append("A label is one line of at most 60 characters.")
    else:
        others = CustomColumn.objects.exclude(slot=column.slot)
        namesake = next(
            (other for other in others if other.label.casefold() == column.label.casefold()), None
        )
        if namesake is not None:
            problems.append(f'{namesake.slot} has the label "{namesake.label}" already.')
    if column.source not in CustomColumn.Source.values:
        problems.append('The source is "erp" (an ERP column) or "user" (entered by people).')
    elif column.source == CustomColumn.Source.ERP and not column.erp_column:
        problems.append("A column that the ERP feeds needs the ERP's column.")
    elif column.source == CustomColumn.Source.USER and column.erp_column:
        problems.append('Only a column with the source "erp" has an ERP column.')
    if len(column.erp_column) > 255 or not column.erp_column.isprintable():
        problems.append("The ERP's column is one line of at most 255 characters.")
    if problems:
        raise ValidationError(problems)
