"""Unmanaged models over the mapping: Django quotes, joins and casts for each engine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from django.apps.registry import Apps
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.related import ForeignObject
from django.db.models.functions import Cast, RTrim

from apps.core.fields import EXACT_ON_SQL_SERVER
from apps.ingestion.erp.mapping import Column, ErpMapping, Relation
from apps.ingestion.erp.router import ERP_ALIAS, ERP_APP_LABEL
from apps.ingestion.erp.tables import quoted_name, quoted_table

# How the ERP stores PO numbers: as texts without padding, with padding (or mixed), or as numbers.
OrderForm = Literal["plain", "padded", "number"]


class ErpRelation:
    """One relation of the ERP as a model, and the attribute path of each of its columns."""

    def __init__(
        self, relation: Relation, extra: Iterable[Column], connection: BaseDatabaseWrapper
    ) -> None:
        wanted = [c for source in relation.fields.values() for c in source.columns] + list(extra)
        self._connection = connection
        self._paths: dict[Column, str] = {}
        # Of its own: mappings come and go, Django's registry stays.
        self._registry = Apps()
        columns: dict[str, list[str]] = {"": [], **{name: [] for name in relation.joins}}
        for column in wanted:
            _add(columns[column.join], column.name)
        for name, join in relation.joins.items():
            for own, other in join.on:
                _add(columns[name], own)
                _add(columns[other.join], other.name)

        # Models of joined tables first: a join may only lean on earlier ones, so go backward.
        children: dict[str, dict[str, type[models.Model]]] = {name: {} for name in columns}
        built: dict[str, type[models.Model]] = {}
        for position, name in enumerate(reversed(list(columns))):
            table = relation.joins[name].table if name else relation.table
            built[name] = self._build(
                f"Erp{position}", table, columns[name], children[name], relation, columns
            )
            if name:
                children[relation.joins[name].on[0][1].join][name] = built[name]
        self.model = built[""]

        prefix = {"": ""}
        for name, join in relation.joins.items():
            prefix[name] = f"{prefix[join.on[0][1].join]}{_join_attribute(relation, name)}__"
        for column in wanted:
            position = columns[column.join].index(column.name)
            self._paths[column] = f"{prefix[column.join]}column_{position}"

    def _build(
        self,
        model_name: str,
        table: str,
        columns: Sequence[str],
        joined: dict[str, type[models.Model]],
        relation: Relation,
        all_columns: dict[str, list[str]],
    ) -> type[models.Model]:
        class Meta:
            managed = False
            app_label = ERP_APP_LABEL
            db_table = quoted_table(table, self._connection)
            apps = self._registry

        attributes: dict[str, Any] = {"__module__": __name__, "Meta": Meta}
        for position, column in enumerate(columns):
            # The kind of field does not matter: rows are read raw and made canonical by us.
            attributes[f"column_{position}"] = models.CharField(
                db_column=quoted_name(column, self._connection),
                primary_key=position == 0,
                null=position != 0,
                max_length=255,
            )
        for name, target in joined.items():
            pairs = relation.joins[name].on
            attributes[_join_attribute(relation, name)] = ForeignObject(
                target,
                on_delete=models.DO_NOTHING,
                from_fields=[f"column_{columns.index(other.name)}" for _, other in pairs],
                to_fields=[f"column_{all_columns[name].index(own)}" for own, _ in pairs],
                null=True,  # LEFT JOIN: a line without its head is rejected aloud, not dropped
                related_name="+",
            )
        return type(model_name, (models.Model,), attributes)

    def select(self, columns: Sequence[Column]) -> models.QuerySet[Any, tuple[Any, ...]]:
        """All rows, with these columns in this order."""
        paths = [self._paths[column] for column in columns]
        return self.model._base_manager.using(ERP_ALIAS).order_by().values_list(*paths)

    def trimmed(self, column: Column) -> models.Func:
        """The column as right-trimmed text, to be compared with canonical texts."""
        text = RTrim(Cast(self._paths[column], models.CharField(max_length=255)))
        if self._connection.vendor == "microsoft":
            # Whatever the ERP's own collation takes for the same.
            return models.Func(text, template=f"%(expressions)s COLLATE {EXACT_ON_SQL_SERVER}")
        return text

    def path(self, column: Column) -> str:
        return self._paths[column]


def _join_attribute(relation: Relation, name: str) -> str:
    return f"join_{list(relation.joins).index(name)}"


def _add(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


def active_rows(
    relation: ErpRelation, mapping: ErpMapping, columns: Sequence[Column]
) -> models.QuerySet[Any, tuple[Any, ...]]:
    """The rows whose status is not a closed one. Rows whose code only looks different on this
    engine (blanks, case) may come too: the reader decides by the canonical code."""
    rows = relation.select(columns)
    if not mapping.closed_statuses:
        return rows
    status = mapping.lines.fields["status"].column
    active: models.QuerySet[Any, tuple[Any, ...]] = rows.alias(
        code=relation.trimmed(status)
    ).filter(
        models.Q(**{f"{relation.path(status)}__isnull": True})
        | ~models.Q(code__in=sorted(mapping.closed_statuses))
    )
    return active


def rows_of_orders(
    relation: ErpRelation,
    po_number: Column,
    columns: Sequence[Column],
    orders: Sequence[str],
    *,
    stored_as: OrderForm,
) -> models.QuerySet[Any, tuple[Any, ...]]:
    """All rows of these purchase orders, closed ones included.

    Comparing the column as it is may use the ERP's index; it needs texts without trailing blanks,
    or SQL Server, which ignores them and converts types.
    """
    rows = relation.select(columns)
    if stored_as == "plain":
        return rows.filter(**{f"{relation.path(po_number)}__in": orders})
    order: models.Func = relation.trimmed(po_number)
    if stored_as == "number":
        order = Cast(
            relation.path(po_number), models.DecimalField(max_digits=38, decimal_places=10)
        )
    aliased: models.QuerySet[Any, tuple[Any, ...]] = rows.alias(order=order)
    return aliased.filter(order__in=orders)


def padded_orders(
    relation: ErpRelation, po_number: Column
) -> models.QuerySet[Any, tuple[Any, ...]]:
    """The rows whose PO number has blanks at its end."""
    rows = relation.select([po_number])
    return rows.exclude(**{relation.path(po_number): relation.trimmed(po_number)})
