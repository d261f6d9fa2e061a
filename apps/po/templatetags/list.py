"""The parts of the list that templates draw: heads, filters, links to pages."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from apps.core.templatetags.interface import icon, quantity
from apps.po.columns import Column, FilterKind
from apps.po.filters import filter_names
from apps.po.list_page import ListPage
from apps.po.list_state import ListState
from apps.po.paging import COUNT_LIMIT

register = template.Library()

_ARROWS = {"ascending": "caret-up-fill", "descending": "caret-down-fill"}


@register.filter
def counted(number: int) -> str:
    """A number of lines, as far as they were counted."""
    return f"{quantity(COUNT_LIMIT)}+" if number > COUNT_LIMIT else quantity(number)


@register.simple_tag
def head(column: Column, state: ListState) -> SafeString:
    """A column's head, which sorts."""
    kind = "num" if column.is_numeric else "pinned" if column.pinned else ""
    if not column.order:
        return format_html('<th scope="col" class="{}">{}</th>', kind, column.label)
    direction = state.direction(column.key)
    asked = state.next_sort(column.key)
    return format_html(
        '<th scope="col" class="{}"{}><a id="sort-{}" href="?{}" hx-get="{}" hx-trigger="click" '
        'hx-vals="{}" title="{}"><span class="head-label">{}</span>{}</a></th>',
        kind,
        format_html(' aria-sort="{}"', direction) if direction else "",
        column.key,
        state.query(sort=asked, page=1),
        reverse("po_list"),
        json.dumps({"sort": asked}),
        column.label,
        column.label,
        icon(_ARROWS[direction]) if direction else "",
    )


@register.simple_tag
def pager_link(number: int, page: ListPage, sign: str, words: str) -> SafeString:
    """A link to a page; words without link where there is none."""
    if not 1 <= number <= page.last_page:
        return format_html('<span class="tool is-off">{} {}</span>', icon(sign), words)
    return format_html(
        '<a class="tool" id="page-{}" href="?{}" hx-get="{}" hx-trigger="click" hx-vals="{}">'
        "{} {}</a>",
        sign,
        page.state.query(page=number),
        reverse("po_list"),
        json.dumps({"page": number}),
        icon(sign),
        words,
    )


@register.inclusion_tag("po/_filter.html", takes_context=True)
def filter_cell(context: template.Context, column: Column, page: ListPage) -> dict[str, Any]:
    """What narrows a column, in the row below the heads. Expeditors choose suppliers in the
    toolbar, and so only there."""
    is_elsewhere = column.filter == FilterKind.SUPPLIERS and page.user.role == "expeditor"
    return {} if is_elsewhere else _filter(column, page, f"filter-{column.key}")


@register.inclusion_tag("po/_filter.html")
def supplier_filter(page: ListPage, place: str) -> dict[str, Any]:
    """The choice of suppliers, outside of the row of filters."""
    return {**_filter(page.known["supplier"], page, f"{place}-supplier"), "words": _("Supplier")}


def _filter(column: Column, page: ListPage, identifier: str) -> dict[str, Any]:
    names = filter_names(column)
    values = [page.state.values(name) for name in names]
    context: dict[str, Any] = {
        "id": identifier,
        "column": column,
        "kind": column.filter.value,
        "is_active": any(values),
        "label": _("Filter %(column)s") % {"column": column.label},
    }
    if len(names) == 2:
        shown = [" ".join(each) for each in values]
        is_date = column.filter != FilterKind.NUMBERS
        context["bounds"] = [
            {"name": names[0], "label": _("from"), "value": shown[0]},
            {"name": names[1], "label": _("to"), "value": shown[1]},
        ]
        context["type"] = "date" if is_date else "text"
    elif column.filter == FilterKind.TEXT:
        context["value"] = " ".join(values[0])
    else:
        choices = (
            [(each.code, str(each)) for each in page.suppliers]
            if column.filter == FilterKind.SUPPLIERS
            else column.choices
        )
        context["choices"] = [
            {"value": value, "label": label, "checked": value in values[0]}
            for value, label in choices
        ]
    return context
