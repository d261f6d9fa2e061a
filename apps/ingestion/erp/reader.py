"""Reads the ERP: raw rows, streamed, in one consistent view of its data."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DjangoDatabaseError
from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.core.bulk import chunks
from apps.ingestion.erp.faults import explain
from apps.ingestion.erp.guard import read_only
from apps.ingestion.erp.mapping import Column, ErpMapping
from apps.ingestion.erp.models import (
    ErpRelation,
    OrderForm,
    active_rows,
    padded_orders,
    rows_of_orders,
)
from apps.ingestion.erp.places import allows_snapshot, places_of
from apps.ingestion.erp.router import ERP_ALIAS
from apps.ingestion.errors import ErpError

RawRow = tuple[Any, ...]

FETCH_SIZE = 20_000
# Orders asked for at once in a look-up by key; below every engine's limit of parameters.
_ORDERS_AT_ONCE = 500
_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)


def is_configured() -> bool:
    """Whether there is an ERP to connect to."""
    return ERP_ALIAS in connections.settings


def erp_connection() -> BaseDatabaseWrapper:
    """The connection to the ERP, open or not. Raises ErpError when there is none, or no driver."""
    if not is_configured():
        raise ErpError(
            "No ERP is configured.",
            "Set ERP_DATABASE_URL in .env; .env.example has one line per engine.",
        )
    try:
        return connections[ERP_ALIAS]
    except ImproperlyConfigured as error:
        raise ErpError(
            f"The driver of the ERP's engine cannot be loaded: {str(error).splitlines()[0]}",
            "Install the packages of requirements/production.txt into the virtual environment and, "
            "for SQL Server, Microsoft ODBC Driver 18.",
        ) from error


class ErpReader:
    """The mapped relations and how to read them. Use it inside `reading()`."""

    def __init__(self, mapping: ErpMapping, custom_columns: dict[str, str]) -> None:
        """`custom_columns` maps each ERP-fed slot to its column in the lines' relation."""
        self.mapping = mapping
        self.connection = erp_connection()
        self.custom_columns = {
            slot: Column.parse(path, mapping.lines.joins) for slot, path in custom_columns.items()
        }
        self.lines = ErpRelation(mapping.lines, self.custom_columns.values(), self.connection)
        self.columns = _distinct(
            [c for source in mapping.lines.fields.values() for c in source.columns]
            + list(self.custom_columns.values())
        )
        self._po_number = mapping.lines.fields["po_number"].column
        self._order_types: set[type] = set()
        self._orders_are_padded = False
        self.deliveries: ErpRelation | None = None
        self.delivery_columns: list[Column] = []
        if mapping.deliveries is not None:
            self.deliveries = ErpRelation(mapping.deliveries, (), self.connection)
            self.delivery_columns = _distinct(
                [c for source in mapping.deliveries.fields.values() for c in source.columns]
            )

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One read-only transaction on a fresh connection: all reads inside see the same data.

        A fresh connection, because after a lost link the old one is no use, and because its view
        of the data must begin now.
        """
        self._close()
        try:
            with self.connection.execute_wrapper(read_only), ExitStack() as stack:
                with explained():
                    if self.connection.vendor == "microsoft":
                        self._choose_isolation()
                    stack.enter_context(transaction.atomic(using=ERP_ALIAS))
                    if self.connection.vendor == "postgresql":
                        # Here, because where no PostgreSQL is used psycopg need not be there.
                        from apps.ingestion.erp.postgresql import take_dates_as_they_are

                        take_dates_as_they_are(self.connection.connection)
                yield
                with explained():
                    stack.close()
        finally:
            self._close()

    def active_rows(self) -> Iterator[list[RawRow]]:
        """The active lines in chunks, columns in the order of `self.columns`."""
        position = self.columns.index(self._po_number)
        self._order_types = set()
        self._orders_are_padded = False
        for chunk in self._stream(active_rows(self.lines, self.mapping, self.columns)):
            self._note_orders({row[position] for row in chunk})
            yield chunk

    def rows_of_orders(self, orders: Sequence[str]) -> Iterator[list[RawRow]]:
        """Every row of these purchase orders, closed ones too, same columns."""
        if not self._order_types:
            for sample in self._stream(self.lines.select([self._po_number])[:FETCH_SIZE]):
                self._note_orders({row[0] for row in sample})
        numeric = self._order_types <= {int, float, Decimal}
        if numeric:
            # The server would refuse to compare its numbers with anything else.
            orders = [order for order in orders if _NUMBER.fullmatch(order)]
        stored_as: OrderForm = "padded"
        if self.connection.vendor == "microsoft":
            stored_as = "plain"
        elif numeric:
            stored_as = "number"
        elif self._order_types == {str} and not self._orders_are_padded and not self._any_padded():
            stored_as = "plain"
        for some in chunks(orders, _ORDERS_AT_ONCE):
            yield from self._stream(
                rows_of_orders(self.lines, self._po_number, self.columns, some, stored_as=stored_as)
            )

    def _any_padded(self) -> bool:
        """Whether an inactive row has a padded PO number although the active ones have none."""
        padded = padded_orders(self.lines, self._po_number)
        return any(True for _ in self._stream(padded[:1]))

    def _note_orders(self, orders: set[Any]) -> None:
        """How the ERP stores PO numbers decides how a look-up asks for them."""
        self._order_types.update({type(order) for order in orders if order is not None})
        if not self._orders_are_padded:
            self._orders_are_padded = any(
                isinstance(order, str) and order != order.rstrip() for order in orders
            )

    def receipts(self) -> Iterator[list[RawRow]]:
        """All receipts in chunks, columns in the order of `self.delivery_columns`."""
        if self.deliveries is not None:
            yield from self._stream(self.deliveries.select(self.delivery_columns))

    def _stream(self, rows: models.QuerySet[Any, RawRow]) -> Iterator[list[RawRow]]:
        """Fetches as the rows come; a server-side cursor where the client would hold them all."""
        with explained():
            sql, parameters = rows.query.get_compiler(using=ERP_ALIAS).as_sql()
            cursor = self.connection.chunked_cursor()
        with cursor:
            with explained():
                cursor.execute(sql, parameters)
                chunk = cursor.fetchmany(FETCH_SIZE)
            while chunk:
                yield chunk
                with explained():
                    chunk = cursor.fetchmany(FETCH_SIZE)

    def _close(self) -> None:
        """A link that is lost already cannot be closed, and need not be."""
        with suppress(DjangoDatabaseError):
            self.connection.close()

    def _choose_isolation(self) -> None:
        """SNAPSHOT where every database that is read allows it, else READ COMMITTED (design.md)."""
        places = places_of(self.mapping.tables, self.connection)
        level = "SNAPSHOT" if allows_snapshot(places, self.connection) else "READ COMMITTED"
        with self.connection.cursor() as cursor:
            cursor.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")


@contextmanager
def explained() -> Iterator[None]:
    """Turns errors of the ERP's database into ErpError; wrap nothing else in it."""
    try:
        yield
    except (DjangoDatabaseError, OSError) as error:
        raise explain(error) from error


def _distinct(columns: Sequence[Column]) -> list[Column]:
    return list(dict.fromkeys(columns))
