"""What people and commands do to lines and their settings: rule, change and event in one place."""

from __future__ import annotations

import difflib
import uuid
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.audit import services as audit
from apps.audit.models import AuditEvent, EventType
from apps.po.columns import Column, all_columns
from apps.po.custom_values import Value, as_text, form_field, stored
from apps.po.models import CUSTOM_SLOTS, ColumnChoice, CustomColumn, POLine, SavedView

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


def acting(user: User, *, source: str) -> audit.Actor:
    """A person who asks for something on a page, as the services below want to know them."""
    return audit.Actor(name=user.get_username(), source=source, user=user)


# --- the list -------------------------------------------------------------------------------------


def choose_columns(*, actor: audit.Actor, columns: Sequence[str]) -> None:
    """Remembers which columns a person sees, in which order. None at all is no choice: they are
    back at their role's. Raises ValidationError for a column that there is not."""
    known = all_columns()
    if unknown := [key for key in columns if key not in known]:
        raise ValidationError(
            _('There is no column "%(column)s" any more. Open the columns again.'),
            params={"column": unknown[0]},
        )
    if columns:
        ColumnChoice.objects.update_or_create(
            user=actor.user, defaults={"columns": list(dict.fromkeys(columns))}
        )
    else:
        ColumnChoice.objects.filter(user=actor.user).delete()


def save_view(*, actor: audit.Actor, name: str, query: str, replace: bool = False) -> SavedView:
    """Keeps an address of the list under a name.

    Raises ValidationError where the person has a view of this name, unless it is to be replaced.
    """
    assert actor.user is not None, "only people save views"
    # Sent twice at the same time, the second is refused by the database or finds the first.
    view, is_new = SavedView.objects.get_or_create(
        user=actor.user, name=name, defaults={"query": query}
    )
    if is_new or view.query == query:
        return view
    if not replace:
        raise ValidationError(
            _('You have a view "%(name)s" already. Save again to replace it.'),
            code="exists",
            params={"name": name},
        )
    view.query = query
    view.save(update_fields=["query"])
    return view


def delete_view(*, actor: audit.Actor, view: SavedView) -> None:
    """Forgets a saved view. Whoever has its address finds nothing there any more."""
    SavedView.objects.filter(user=actor.user, pk=view.pk).delete()


class ValueChangedMeanwhile(Exception):  # noqa: N818  # what happened, not what went wrong
    """Somebody else, or the ERP, changed the value since the person looked at it."""

    def __init__(self, current: Value) -> None:
        super().__init__(as_text(current))
        self.current = current


def enter_custom_value(
    *,
    actor: audit.Actor,
    act: uuid.UUID,
    line: POLine,
    column: Column,
    value: Value,
    seen: str,
) -> bool:
    """Puts a person's value into a custom column of a line, with its audit event.

    `act` is the correlation id of the request, `seen` the text of the value that the person saw
    (apps/po/custom_values.py). Returns whether anything changed. Raises ValueChangedMeanwhile where
    something else stands there by now, and POLine.DoesNotExist where the line is not the person's
    any more.
    """
    with transaction.atomic():
        current = _held(actor, line)
        previous = getattr(current, column.key)
        if as_text(previous) != seen:
            raise ValueChangedMeanwhile(previous)
        new = stored(column, value)
        # The ERP's own value entered again makes it the person's; anything else is no change.
        is_own = column.entered_by_people or current.custom_sources.get(column.key) == _USER
        if as_text(new) == seen and is_own:
            return False
        _put_custom_value(actor, act, current, column, new, source=_USER)
    return True


def give_back_to_erp(*, actor: audit.Actor, act: uuid.UUID, line: POLine, column: Column) -> None:
    """Lets the ERP's value stand again where a person had entered another one, with its event.

    Raises ValidationError where the ERP does not feed the column, or where its value stands anyway.
    """
    with transaction.atomic():
        current = _held(actor, line)
        if column.entered_by_people or current.custom_sources.get(column.key) != _USER:
            raise ValidationError(_("The ERP's value stands here already. Reload the page."))
        told = current.custom_erp_values.get(column.key)
        value = form_field(column).clean("" if told is None else told)
        _put_custom_value(actor, act, current, column, stored(column, value), source=_ERP)


def _held(actor: audit.Actor, line: POLine) -> POLine:
    """The line as it is now, kept from others until the transaction ends. Raises
    POLine.DoesNotExist where it is not the person's any more, or retired."""
    mine = POLine.objects.for_user(actor.user).current()
    return mine.select_for_update().get(pk=line.pk)


_USER, _ERP = CustomColumn.Source.USER.value, CustomColumn.Source.ERP.value


def _put_custom_value(
    actor: audit.Actor,
    act: uuid.UUID,
    line: POLine,
    column: Column,
    value: Value,
    *,
    source: str,
) -> None:
    previous = getattr(line, column.key)
    setattr(line, column.key, value)
    others = {slot: each for slot, each in line.custom_sources.items() if slot != column.key}
    # Where the ERP says nothing, there is nothing of its own either.
    is_nobodys = source == _ERP and not as_text(value)
    line.custom_sources = others if is_nobodys else others | {column.key: source}
    line.save(update_fields=[column.key, "custom_sources"])
    event = audit.Event(
        event_type=EventType.CUSTOM_COLUMN_UPDATED,
        po_line_id=line.pk,
        supplier_id=line.supplier_id,
        data={
            "slot": column.key,
            "label": str(column.label),
            "previous": as_text(previous),
            "new": as_text(value),
            "value_from": source,
        },
    )
    audit.record(
        [event],
        actor=actor,
        correlation_id=act,
        effective_at=timezone.now(),
    )
