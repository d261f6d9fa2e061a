"""What people enter into custom columns: reading it, and what it is called in history (FR51)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator

from apps.po.columns import Column, Kind

Value = date | Decimal | str | None

# Dates that every engine knows.
_DATE_RANGE = [MinValueValidator(date(1753, 1, 1)), MaxValueValidator(date(9999, 12, 31))]


def form_field(column: Column) -> forms.Field:
    """The form field that reads a value of the column's kind."""
    shared: dict[str, Any] = {"required": False, "label": column.label}
    if column.kind == Kind.CUSTOM_DATE:
        picker = forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
        return forms.DateField(
            input_formats=["%Y-%m-%d"], validators=_DATE_RANGE, widget=picker, **shared
        )
    if column.kind == Kind.CUSTOM_DECIMAL:
        plain = forms.TextInput(attrs={"inputmode": "decimal", "autocomplete": "off"})
        return forms.DecimalField(max_digits=18, decimal_places=3, widget=plain, **shared)
    return forms.CharField(
        max_length=255, widget=forms.TextInput(attrs={"autocomplete": "off"}), **shared
    )


def stored(column: Column, cleaned: Value) -> Value:
    """As the database keeps it: no text is an empty one, every other nothing is NULL."""
    if column.kind == Kind.CUSTOM_TEXT:
        return cleaned or ""
    return None if cleaned == "" else cleaned


def as_text(value: Value) -> str:
    """The one way to write a value down, in forms and in history; "" for none."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return str(value)
