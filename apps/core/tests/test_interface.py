"""Dates, quantities and icons look the same on every page."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from django import forms
from django.template import Context, Template
from django.utils import timezone

from apps.core.templatetags.interface import day, icon, moment, quantity


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Decimal("1250.000"), "1,250"),
        (Decimal("12.500"), "12.5"),
        (Decimal("0.000"), "0"),
        (Decimal("-1000.125"), "-1,000.125"),
        (Decimal("1E+3"), "1,000"),
        (1_000_000, "1,000,000"),
        (100, "100"),
    ],
)
def test_a_quantity_has_thousands_separated_and_no_empty_decimals(
    value: Decimal | int, shown: str
) -> None:
    assert quantity(value) == shown


def test_a_date_is_written_from_year_to_day() -> None:
    assert day(date(2026, 3, 2)) == "2026-03-02"


def test_a_moment_is_shown_in_the_zone_of_the_business() -> None:
    late = datetime(2026, 11, 20, 23, 4, tzinfo=UTC)
    with timezone.override("Asia/Shanghai"):
        assert moment(late) == "2026-11-21 07:04"
        assert day(late) == "2026-11-21"


def test_nothing_is_an_em_dash_and_zero_is_not_nothing() -> None:
    assert [day(None), moment(None), quantity(None)] == ['<span class="empty">—</span>'] * 3
    assert quantity(0) == "0"


def test_an_icon_is_not_read_aloud_and_its_name_cannot_become_markup() -> None:
    assert icon("truck") == '<i class="bi bi-truck" aria-hidden="true"></i>'
    assert "<script>" not in icon('"><script>')


class _Form(forms.Form):
    name = forms.CharField(help_text="As on the order.")
    kind = forms.ChoiceField(choices=[("a", "A")], required=False)
    sure = forms.BooleanField(required=False)


def rendered(form: forms.Form, name: str) -> str:
    return Template("{% load interface %}{% field bound %}").render(Context({"bound": form[name]}))


def test_a_field_has_its_label_help_and_errors_tied_to_it() -> None:
    html = rendered(_Form({"name": ""}), "name")
    assert '<label for="id_name">' in html
    assert 'id="id_name_helptext"' in html
    assert 'id="id_name_error"' in html
    assert 'aria-describedby="id_name_helptext id_name_error"' in html
    assert 'aria-invalid="true"' in html
    assert "is-invalid" in html


@pytest.mark.parametrize(
    ("name", "kind"),
    [("name", "form-control"), ("kind", "form-select"), ("sure", "form-check-input")],
)
def test_each_kind_of_field_looks_like_what_it_is(name: str, kind: str) -> None:
    assert f'class="{kind}"' in rendered(_Form(), name)


@pytest.mark.parametrize(("name", "starred"), [("name", True), ("kind", False)])
def test_only_required_fields_have_a_star(name: str, starred: bool) -> None:
    assert ('class="required"' in rendered(_Form(), name)) is starred
