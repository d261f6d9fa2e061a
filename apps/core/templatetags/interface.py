"""How things look on every page: icons, form fields, dates and quantities (ui.md)."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django import template
from django.forms import BoundField, CheckboxInput, Select
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

EMPTY = mark_safe('<span class="empty">—</span>')  # a constant of our own


@register.simple_tag
def icon(name: str) -> SafeString:
    """A Bootstrap icon. Never alone: words beside it say the same, so readers skip it."""
    return format_html('<i class="bi bi-{}" aria-hidden="true"></i>', name)


@register.inclusion_tag("_partials/_field.html")
def field(bound: BoundField) -> dict[str, Any]:
    """A form field: label above, a star if it is required, help and errors below."""
    widget = bound.field.widget
    kind = "form-control"
    if isinstance(widget, CheckboxInput):
        kind = "form-check-input"
    elif isinstance(widget, Select):
        kind = "form-select"
    wrong = " is-invalid" if bound.errors else ""
    return {"field": bound, "control": bound.as_widget(attrs={"class": kind + wrong})}


@register.filter
def day(value: date | datetime | None) -> str:
    """2026-11-20; an em dash for none."""
    if value is None:
        return EMPTY
    if isinstance(value, datetime):
        value = timezone.localtime(value)
    return f"{value:%Y-%m-%d}"


@register.filter
def moment(value: datetime | None) -> str:
    """2026-11-20 23:04, in the business time zone; an em dash for none."""
    return EMPTY if value is None else f"{timezone.localtime(value):%Y-%m-%d %H:%M}"


@register.filter
def quantity(value: Decimal | int | None) -> str:
    """1,250 or 12.5: thousands separated, no decimals that say nothing; an em dash for none."""
    if value is None:
        return EMPTY
    text = f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}"
    return text.rstrip("0").rstrip(".") if "." in text else text
