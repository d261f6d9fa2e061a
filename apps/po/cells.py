"""The rows of the list as HTML.

Written by hand and not by templates: a page has a thousand cells, and ten people wait for it.
Every value goes through `escape` or comes from apps/po/badges.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _

from apps.core.templatetags.interface import EMPTY, moment, quantity
from apps.po.badges import (
    Freshness,
    badge,
    progress_bar,
    source_badge,
    status_badge,
    unmapped_badge,
)
from apps.po.columns import Column, Kind
from apps.po.quantities import Progress

Row = Mapping[str, Any]
Address = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the cells of a page are drawn with: who looks, and how old is old."""

    role: str
    freshness: Freshness
    may_write: bool
    # The address of a line, and by column that of a value to change, each in two parts around the
    # line's number: asking Django for each costs as much as the rest of the row.
    address: Address
    value_addresses: Mapping[str, Address]

    @classmethod
    def of(
        cls, *, role: str, freshness: Freshness, may_write: bool, columns: Sequence[Column]
    ) -> Look:
        return cls(
            role=role,
            freshness=freshness,
            may_write=may_write,
            address=_around_number("po_detail"),
            value_addresses={
                each.key: _around_number("custom_value", each.key)
                for each in columns
                if each.is_custom
            },
        )


def _around_number(name: str, *rest: str) -> Address:
    """What stands before and after the line's number in an address."""
    before, _number, after = reverse(name, args=[0, *rest]).partition("/0/")
    return f"{before}/", f"/{after}"


def row_html(row: Row, columns: Sequence[Column], look: Look) -> SafeString:
    """One line as a table row that opens its panel."""
    number: int = row["pk"]
    kind = row["exception"].replace("_", "-")
    address = str(number).join(look.address)
    cells = "".join([cell_html(row, column, look) for column in columns])
    return mark_safe(  # noqa: S308  # of parts that are escaped
        f'<tr id="line-{number}" class="{kind}" data-opens-panel="{address}" tabindex="-1">'
        f"{cells}</tr>"
    )


def cell_html(row: Row, column: Column, look: Look) -> str:
    return _CELLS[column.kind](row, column, look)


def may_edit(row: Row, column: Column, role: str) -> bool:
    """Whether this person may enter a value here: the column is filled by people, or the value that
    stands there is a person's (FR51)."""
    if role not in column.editable_by:
        return False
    return column.entered_by_people or row["custom_sources"].get(column.key) == "user"


# --- one look per kind ----------------------------------------------------------------------------


def _text(row: Row, column: Column, look: Look) -> str:
    return _told(row[column.name])


def _key(row: Row, column: Column, look: Look) -> str:
    return _told(row[column.name], "key pinned" if column.pinned else "key")


def _told(value: str, kind: str = "") -> str:
    """A text, which may be cut: the whole of it is its title."""
    if not value:
        return f'<td class="{kind}">{EMPTY}</td>'
    text = escape(value)
    return f'<td class="{kind}" title="{text}">{text}</td>'


def _link(row: Row, column: Column, look: Look) -> str:
    address = str(row["pk"]).join(look.address)
    text = escape(row["po_number"])
    return (
        f'<td class="key pinned" title="{text}"><a href="{address}" tabindex="-1">{text}</a></td>'
    )


def _sku(row: Row, column: Column, look: Look) -> str:
    if row["unmapped"]:
        return f"<td>{unmapped_badge()}</td>"
    return _key(row, column, look)


def _supplier(row: Row, column: Column, look: Look) -> str:
    code, name = escape(row["supplier__code"]), escape(row["supplier__name"])
    return f'<td title="{code} {name}">{name or code}</td>'


def _date(row: Row, column: Column, look: Look) -> str:
    value = row[column.name]
    return f'<td class="date">{EMPTY if value is None else value.isoformat()}</td>'


def _moment(row: Row, column: Column, look: Look) -> str:
    return f'<td class="date">{moment(row[column.name])}</td>'


def _freshness(row: Row, column: Column, look: Look) -> str:
    value = row[column.name]
    title = "" if value is None else moment(value)
    shown = look.freshness.badge(value, is_open=bool(row["is_open"]))
    return f'<td title="{title}">{shown}</td>'


def _quantity(row: Row, column: Column, look: Look) -> str:
    return f'<td class="num">{quantity(row[column.name])}</td>'


def _progress(row: Row, column: Column, look: Look) -> str:
    ordered, ready = row["ordered_quantity"], row["ready_quantity"]
    progress = Progress.of(ordered=ordered, delivered=row["delivered_quantity"], ready=ready)
    over = f' <span class="over">+{quantity(progress.over)}</span>' if progress.over else ""
    return (
        f'<td class="num progress-cell">{quantity(ready)} / {quantity(ordered)}{over}'
        f"{progress_bar(progress)}</td>"
    )


def _status(row: Row, column: Column, look: Look) -> str:
    return f"<td>{status_badge(row['status'])}</td>"


def _source(row: Row, column: Column, look: Look) -> str:
    return f"<td>{source_badge(row['source_quality'])}</td>"


def _choice(row: Row, column: Column, look: Look) -> str:
    value = row[column.name]
    return f"<td>{escape(str(dict(column.choices).get(value, value)))}</td>"


def _exception(row: Row, column: Column, look: Look) -> str:
    if row["exception"] == "late":
        days = (look.freshness.today - row["expected_date"]).days
        words = _("Late %(days)d d") % {"days": days}
        return f"<td>{badge('red', 'exclamation-circle-fill', words)}</td>"
    if row["exception"] == "at_risk":
        return f"<td>{badge('amber', 'clock-fill', _('At risk'))}</td>"
    return "<td></td>"


def _custom(row: Row, column: Column, look: Look) -> str:
    value = row[column.key]
    sign = custom_sign(row, column)
    shown = f"{custom_value(value)}{sign}"
    title = escape(value) if isinstance(value, str) else ""
    kind = {Kind.CUSTOM_DATE: "date", Kind.CUSTOM_DECIMAL: "num"}.get(column.kind, "")
    if not (look.may_write and may_edit(row, column, look.role)):
        return f'<td class="{kind} from-erp" title="{title}">{shown}</td>'
    address = str(row["pk"]).join(look.value_addresses[column.key])
    return f'<td class="{kind} editable" title="{title}" data-edits="{address}">{shown}</td>'


def custom_value(value: Any) -> SafeString:
    """A value of a custom column, as people read it."""
    if value is None or value == "":
        return EMPTY
    if isinstance(value, str):
        return mark_safe(escape(value))  # noqa: S308  # it is escaped
    if hasattr(value, "isoformat"):
        return SafeString(value.isoformat())
    return SafeString(quantity(value))


def custom_sign(row: Row, column: Column) -> SafeString:
    """That a value in an ERP-fed column was entered by a person."""
    if column.entered_by_people or row["custom_sources"].get(column.key) != "user":
        return SafeString("")
    return format_html(
        ' <i class="bi bi-person-fill by-person" role="img" aria-label="{}"></i>',
        _("entered by a person"),
    )


_CELLS: dict[Kind, Callable[[Row, Column, Look], str]] = {
    Kind.EXCEPTION: _exception,
    Kind.LINK: _link,
    Kind.KEY: _key,
    Kind.SKU: _sku,
    Kind.TEXT: _text,
    Kind.SUPPLIER: _supplier,
    Kind.DATE: _date,
    Kind.MOMENT: _moment,
    Kind.FRESHNESS: _freshness,
    Kind.QUANTITY: _quantity,
    Kind.PROGRESS: _progress,
    Kind.STATUS: _status,
    Kind.SOURCE: _source,
    Kind.CHOICE: _choice,
    Kind.CUSTOM_DATE: _custom,
    Kind.CUSTOM_TEXT: _custom,
    Kind.CUSTOM_DECIMAL: _custom,
}
