"""The columns of the list: one registry for table, filters, chooser, address and export.

A new column is one entry here. The 15 custom slots become columns when an administrator has
configured them, under the label chosen there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from django.db.models import Case, DecimalField, F, IntegerField, Value, When
from django.db.models.functions import Length
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.core.roles import Role
from apps.core.words import StrOrPromise
from apps.po.labels import ERP_LABELS
from apps.po.lifecycle import SourceQuality, Status
from apps.po.models import ColumnChoice, CustomColumn, Presence

Choices = tuple[tuple[str, StrOrPromise], ...]


class Kind(Enum):
    """What a column holds, which decides how it looks, filters and goes to Excel."""

    EXCEPTION = "exception"  # late or at risk
    LINK = "link"  # the key that opens the line
    KEY = "key"  # codes, in a monospace face
    SKU = "sku"  # a code, or the mark that there is none
    TEXT = "text"
    SUPPLIER = "supplier"
    DATE = "date"
    MOMENT = "moment"
    FRESHNESS = "freshness"  # a moment, told as days ago
    QUANTITY = "quantity"
    PROGRESS = "progress"  # ready of ordered, with its bar
    STATUS = "status"
    SOURCE = "source"
    CHOICE = "choice"
    CUSTOM_DATE = "custom_date"
    CUSTOM_TEXT = "custom_text"
    CUSTOM_DECIMAL = "custom_decimal"


class FilterKind(Enum):
    """How a column can be narrowed."""

    TEXT = "text"  # contains
    DATES = "dates"  # from, to
    MOMENTS = "moments"  # from, to, by business date
    NUMBERS = "numbers"  # from, to
    CHOICES = "choices"  # one or more of these
    SUPPLIERS = "suppliers"
    EXCEPTIONS = "exceptions"


_FILTERS = {
    Kind.EXCEPTION: FilterKind.EXCEPTIONS,
    Kind.SUPPLIER: FilterKind.SUPPLIERS,
    Kind.DATE: FilterKind.DATES,
    Kind.CUSTOM_DATE: FilterKind.DATES,
    Kind.MOMENT: FilterKind.MOMENTS,
    Kind.FRESHNESS: FilterKind.MOMENTS,
    Kind.QUANTITY: FilterKind.NUMBERS,
    Kind.CUSTOM_DECIMAL: FilterKind.NUMBERS,
    Kind.PROGRESS: FilterKind.NUMBERS,
    Kind.STATUS: FilterKind.CHOICES,
    Kind.SOURCE: FilterKind.CHOICES,
    Kind.CHOICE: FilterKind.CHOICES,
}
_CHOSEN = frozenset({FilterKind.CHOICES, FilterKind.SUPPLIERS, FilterKind.EXCEPTIONS})
_NUMERIC = frozenset({Kind.QUANTITY, Kind.CUSTOM_DECIMAL, Kind.PROGRESS})


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column. `key` names it in addresses and choices and never changes."""

    key: str
    label: StrOrPromise
    kind: Kind
    # What is filtered by, and sorted by unless `sort` says otherwise; the key if empty.
    field: str = ""
    # Further fields that the cell shows.
    also: tuple[str, ...] = ()
    sort: tuple[str, ...] = ()
    nullable: bool = False  # the first field sorted by may be NULL: such lines come last
    sortable: bool = True
    pinned: bool = False  # stays in sight when the table is moved sideways: it names the line
    choices: Choices = ()
    default_for: frozenset[Role] = frozenset()
    editable_by: frozenset[Role] = frozenset()
    entered_by_people: bool = False  # a custom column whose values come from users

    @property
    def name(self) -> str:
        """The field it stands for."""
        return self.field or self.key

    @property
    def fields(self) -> tuple[str, ...]:
        """What has to be read for its cell."""
        return tuple(name for name in (self.name, *self.also) if name)

    @property
    def order(self) -> tuple[str, ...]:
        """The fields to sort by; () where sorting has no meaning."""
        return (self.sort or (self.name,)) if self.sortable else ()

    @property
    def filter(self) -> FilterKind:
        return _FILTERS.get(self.kind, FilterKind.TEXT)

    @property
    def has_choices(self) -> bool:
        """Whether it is narrowed to one or more values of several."""
        return self.filter in _CHOSEN

    @property
    def is_numeric(self) -> bool:
        return self.kind in _NUMERIC

    @property
    def is_custom(self) -> bool:
        return self.key.startswith("custom_")


def _dates(key: str, label: StrOrPromise, **more: Any) -> Column:
    return Column(key=key, label=label, kind=Kind.DATE, nullable=True, **more)


_ALL = frozenset(Role)
_EUROPE = frozenset({Role.PLANNER, Role.ADMIN})
_PRESENCE_LABELS: dict[str, StrOrPromise] = {
    Presence.PRESENT: _("Active"),
    Presence.AGED_OUT: _("Aged out"),
    Presence.CLOSED: _("Closed"),
    Presence.CANCELLED: _("Cancelled"),
    Presence.ABSENT: _("No longer there"),
}

_BUILT_IN = (
    Column(
        key="exception", label=_("Exception"), kind=Kind.EXCEPTION, field="expected_date",
        sortable=False, choices=(("late", _("Late")), ("at_risk", _("At risk"))), default_for=_ALL,
    ),
    Column(
        key="po_number", label=_("PO number"), kind=Kind.LINK, pinned=True,
        sort=("po_number", "line_length", "line_number"), default_for=_ALL,
    ),
    Column(
        key="line_number", label=_("Line"), kind=Kind.KEY, pinned=True,
        sort=("line_length", "line_number"), default_for=_ALL,
    ),
    Column(
        key="supplier", label=ERP_LABELS["supplier_code"], kind=Kind.SUPPLIER,
        field="supplier__code", also=("supplier__name",), default_for=_ALL,
    ),
    Column(key="item", label=_("Item"), kind=Kind.KEY, default_for=_EUROPE),
    Column(key="sku", label=_("SKU"), kind=Kind.SKU, also=("unmapped",), default_for=_ALL),
    Column(
        key="erp_item_code", label=ERP_LABELS["erp_item_code"], kind=Kind.KEY,
        default_for=frozenset({Role.EXPEDITOR}),
    ),
    Column(
        key="progress", label=_("Ready / ordered"), kind=Kind.PROGRESS, field="ready_quantity",
        also=("ordered_quantity", "delivered_quantity"), default_for=_ALL,
    ),
    Column(key="ordered_quantity", label=ERP_LABELS["ordered_quantity"], kind=Kind.QUANTITY),
    Column(key="delivered_quantity", label=ERP_LABELS["delivered_quantity"], kind=Kind.QUANTITY),
    Column(key="outstanding", label=_("Outstanding"), kind=Kind.QUANTITY),
    Column(
        key="status", label=_("Status"), kind=Kind.STATUS, sort=("status_rank",),
        choices=tuple(Status.choices), default_for=_ALL,
    ),
    _dates("expected_date", _("Expected"), default_for=_ALL),
    _dates("promised_date", ERP_LABELS["promised_date"], default_for=_ALL),
    Column(
        key="source_quality", label=_("Source"), kind=Kind.SOURCE,
        choices=tuple(SourceQuality.choices), default_for=_ALL,
    ),
    Column(
        key="updated", label=_("Updated"), kind=Kind.FRESHNESS, field="last_expeditor_update",
        also=("is_open",), nullable=True, default_for=_ALL,
    ),
    Column(
        key="final_customer", label=ERP_LABELS["final_customer"], kind=Kind.TEXT,
        default_for=_EUROPE,
    ),
    _dates("production_ready_date", _("Production ready")),
    _dates("ready_to_dispatch_date", _("Ready to dispatch on")),
    _dates("in_date", ERP_LABELS["in_date"]),
    _dates("po_insert_date", ERP_LABELS["po_insert_date"]),
    Column(key="erp_status", label=ERP_LABELS["erp_status"], kind=Kind.KEY),
    Column(
        key="presence", label=_("In the ERP"), kind=Kind.CHOICE,
        choices=tuple(_PRESENCE_LABELS.items()),
    ),
    Column(key="first_seen_at", label=_("First seen"), kind=Kind.MOMENT),
)  # fmt: skip

# What is sorted or filtered by and is no field: worked out only where it is asked for.
_STATUS_ORDER = [When(status=status, then=Value(rank)) for rank, status in enumerate(Status)]
COMPUTED = {
    "outstanding": Case(
        When(
            ordered_quantity__gt=F("delivered_quantity"),
            then=F("ordered_quantity") - F("delivered_quantity"),
        ),
        default=Value(Decimal(0)),
        output_field=DecimalField(max_digits=18, decimal_places=3),
    ),
    "status_rank": Case(*_STATUS_ORDER, default=Value(99), output_field=IntegerField()),
    # Line 9 before line 10, although line numbers are texts.
    "line_length": Length("line_number"),
}

_CUSTOM_KINDS = {
    "date": Kind.CUSTOM_DATE, "text": Kind.CUSTOM_TEXT, "decimal": Kind.CUSTOM_DECIMAL,
}  # fmt: skip


def _custom(configured: CustomColumn) -> Column:
    kind = _CUSTOM_KINDS[configured.slot.split("_")[1]]
    return Column(
        key=configured.slot,
        label=configured.label,
        kind=kind,
        also=("custom_sources",),
        nullable=kind != Kind.CUSTOM_TEXT,
        editable_by=_ALL,
        entered_by_people=configured.source == CustomColumn.Source.USER,
    )


def all_columns() -> dict[str, Column]:
    """Every column there is now, by key, in the order of the chooser. One query."""
    custom = (_custom(each) for each in CustomColumn.objects.filter(active=True))
    return {column.key: column for column in (*_BUILT_IN, *custom)}


def default_columns(role: str, known: Mapping[str, Column]) -> tuple[str, ...]:
    """The keys that a role sees before anybody chose: what is meant for it, and the columns that
    people are to fill. For no role what planners see."""
    wanted = Role(role) if role in Role.values else Role.PLANNER
    return tuple(
        key
        for key, column in known.items()
        if wanted in column.default_for or column.entered_by_people
    )


def chosen_columns(user: User, known: Mapping[str, Column]) -> tuple[str, ...]:
    """The keys that the user sees: chosen once, else the role's. One query.

    A chosen column that there is no more is left out; it comes back with its configuration.
    """
    choice = ColumnChoice.objects.filter(user=user).first()
    return usable(choice.columns if choice else (), known) or default_columns(user.role, known)


def usable(keys: Iterable[object], known: Mapping[str, Column]) -> tuple[str, ...]:
    """Those keys that are columns, each once, in the order given."""
    return tuple(dict.fromkeys(key for key in keys if isinstance(key, str) and key in known))
