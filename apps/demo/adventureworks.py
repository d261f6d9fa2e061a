"""An ERP from real data: the purchasing part of Microsoft's AdventureWorks sample, night by night.

`Replay(folder)` reads the sample's tab-separated files and writes them as an SQLite database with
AdventureWorks' own table and column names, either as they end or as they stood on a given night.

The files hold end states only, so what happened before is defined: a line appears on its order's
date, pending and with nothing received; all of it is received on the line's own ModifiedDate; its
order takes its final status on the order's ModifiedDate. `Replay.truth` says what a faithful
application must know after each night. It is reckoned from the files alone, with nothing of the
pipeline it is meant to check.
"""

from __future__ import annotations

import csv
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple, TypeVar

# As on SQL Server, computed columns included, but for the schema names, which SQLite has not.
# The columns stand in the order of the files.
_SCHEMA = """
CREATE TABLE PurchaseOrderHeader (
    PurchaseOrderID int NOT NULL PRIMARY KEY,
    RevisionNumber tinyint NOT NULL,
    Status tinyint NOT NULL,
    EmployeeID int NOT NULL,
    VendorID int NOT NULL,
    ShipMethodID int NOT NULL,
    OrderDate datetime NOT NULL,
    ShipDate datetime,
    SubTotal money NOT NULL,
    TaxAmt money NOT NULL,
    Freight money NOT NULL,
    TotalDue money AS (SubTotal + TaxAmt + Freight),
    ModifiedDate datetime NOT NULL
);
CREATE TABLE PurchaseOrderDetail (
    PurchaseOrderID int NOT NULL,
    PurchaseOrderDetailID int NOT NULL,
    DueDate datetime NOT NULL,
    OrderQty smallint NOT NULL,
    ProductID int NOT NULL,
    UnitPrice money NOT NULL,
    LineTotal money AS (OrderQty * UnitPrice),
    ReceivedQty decimal(8, 2) NOT NULL,
    RejectedQty decimal(8, 2) NOT NULL,
    StockedQty decimal(9, 2) AS (ReceivedQty - RejectedQty),
    ModifiedDate datetime NOT NULL,
    PRIMARY KEY (PurchaseOrderID, PurchaseOrderDetailID)
);
CREATE TABLE Vendor (
    BusinessEntityID int NOT NULL PRIMARY KEY,
    AccountNumber nvarchar(15) NOT NULL,
    Name nvarchar(50) NOT NULL,
    CreditRating tinyint NOT NULL,
    PreferredVendorStatus bit NOT NULL,
    ActiveFlag bit NOT NULL,
    PurchasingWebServiceURL nvarchar(1024),
    ModifiedDate datetime NOT NULL
);
CREATE TABLE Product (
    ProductID int NOT NULL PRIMARY KEY,
    Name nvarchar(50) NOT NULL,
    ProductNumber nvarchar(25) NOT NULL,
    MakeFlag bit NOT NULL,
    FinishedGoodsFlag bit NOT NULL,
    Color nvarchar(15),
    SafetyStockLevel smallint NOT NULL,
    ReorderPoint smallint NOT NULL,
    StandardCost money NOT NULL,
    ListPrice money NOT NULL,
    Size nvarchar(5),
    SizeUnitMeasureCode nchar(3),
    WeightUnitMeasureCode nchar(3),
    Weight decimal(8, 2),
    DaysToManufacture int NOT NULL,
    ProductLine nchar(2),
    Class nchar(2),
    Style nchar(2),
    ProductSubcategoryID int,
    ProductModelID int,
    SellStartDate datetime NOT NULL,
    SellEndDate datetime,
    DiscontinuedDate datetime,
    rowguid uniqueidentifier NOT NULL,
    ModifiedDate datetime NOT NULL
);
CREATE TABLE ProductVendor (
    ProductID int NOT NULL,
    BusinessEntityID int NOT NULL,
    AverageLeadTime int NOT NULL,
    StandardPrice money NOT NULL,
    LastReceiptCost money,
    LastReceiptDate datetime,
    MinOrderQty int NOT NULL,
    MaxOrderQty int NOT NULL,
    OnOrderQty int,
    UnitMeasureCode nchar(3) NOT NULL,
    ModifiedDate datetime NOT NULL,
    PRIMARY KEY (ProductID, BusinessEntityID)
);
CREATE TABLE ProductSubcategory (
    ProductSubcategoryID int NOT NULL PRIMARY KEY,
    ProductCategoryID int NOT NULL,
    Name nvarchar(50) NOT NULL,
    rowguid uniqueidentifier NOT NULL,
    ModifiedDate datetime NOT NULL
);
CREATE TABLE ProductCategory (
    ProductCategoryID int NOT NULL PRIMARY KEY,
    Name nvarchar(50) NOT NULL,
    rowguid uniqueidentifier NOT NULL,
    ModifiedDate datetime NOT NULL
);
"""
_MASTER_DATA = ("Vendor", "Product", "ProductVendor", "ProductSubcategory", "ProductCategory")

PENDING, APPROVED, REJECTED, COMPLETE = "1", "2", "3", "4"
_FINAL = {REJECTED: "cancelled", COMPLETE: "closed"}
_NOTHING = Decimal(0)
_NEVER = date.min  # before the first night: what an empty file holds


class _Order(NamedTuple):
    """A row of PurchaseOrderHeader, as written in its file."""

    number: str
    revision: str
    status: str
    employee: str
    vendor: str
    ship_method: str
    ordered_at: str
    shipped_at: str
    subtotal: str
    tax: str
    freight: str
    total: str
    modified_at: str


class _Line(NamedTuple):
    """A row of PurchaseOrderDetail, as written in its file."""

    order: str
    number: str
    due_at: str
    ordered: str
    product: str
    price: str
    total: str
    received: str
    rejected: str
    stocked: str
    modified_at: str


Row = TypeVar("Row")


class Key(NamedTuple):
    """What identifies a line, to the application as well."""

    po_number: str
    line_number: str


@dataclass(frozen=True)
class _Life:
    """When the three things happen to a line, and how it ends."""

    key: Key
    ordered_on: date
    received_on: date
    settled_on: date
    ordered: Decimal
    delivered: Decimal
    code: str


@dataclass(frozen=True)
class BatchTruth:
    """A batch that must have been rebuilt; the quantity is in the line's unit."""

    kind: str
    quantity: Decimal
    delivered_on: date
    date_uncertain: bool


@dataclass(frozen=True)
class LineTruth:
    """What must be known of a line: `active` is the ERP's view of it, `status` the lifecycle's."""

    active: bool
    delivered: Decimal
    code: str
    status: str
    batches: tuple[BatchTruth, ...]


class Replay:
    """AdventureWorks' purchasing, from its first night to its last.

    Raises FileNotFoundError where the folder lacks one of the files, TypeError where a row of
    orders or lines has the wrong number of columns.
    """

    def __init__(self, folder: Path) -> None:
        self._master = {table: _rows(folder, table) for table in _MASTER_DATA}
        orders = {row[0]: _Order(*row) for row in _rows(folder, "PurchaseOrderHeader")}
        lines = [_Line(*row) for row in _rows(folder, "PurchaseOrderDetail")]
        self._new_orders: dict[date, list[_Order]] = defaultdict(list)
        self._new_lines: dict[date, list[_Line]] = defaultdict(list)
        self._receipts: dict[date, list[_Line]] = defaultdict(list)
        self._settlements: dict[date, list[_Order]] = defaultdict(list)
        self._lives: list[_Life] = []
        for order in orders.values():
            self._new_orders[_day(order.ordered_at)].append(order)
            self._settlements[_day(order.modified_at)].append(order)
        for line in lines:
            order = orders[line.order]
            self._new_lines[_day(order.ordered_at)].append(
                line._replace(received="0", rejected="0", modified_at=order.ordered_at)
            )
            self._receipts[_day(line.modified_at)].append(line)
            self._lives.append(
                _Life(
                    key=Key(line.order, line.number),
                    ordered_on=_day(order.ordered_at),
                    received_on=_day(line.modified_at),
                    settled_on=_day(order.modified_at),
                    ordered=Decimal(line.ordered),
                    delivered=Decimal(line.received) - Decimal(line.rejected),
                    code=order.status,
                )
            )

    @property
    def dates(self) -> list[date]:
        """The calendar: each date on which something happens, in order."""
        return sorted({*self._new_orders, *self._receipts, *self._settlements})

    def write(self, path: Path, on: date = date.max) -> None:
        """Writes the ERP as it stood at the end of the day `on`, by default as it ends.

        A file written for an earlier day is brought forward, which is fast; one of a later day is
        written again from the start. Raises ValueError for a database that is not a replay's.
        """
        with closing(sqlite3.connect(path)) as connection, connection:
            # SQLite's own place for an application's number holds the day, inside the transaction.
            held = connection.execute("PRAGMA user_version").fetchone()[0]
            after = date.fromordinal(held) if held else _NEVER
            if after == _NEVER:
                if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    raise ValueError(f"{path} holds other tables. Name a file that does not exist.")
                connection.executescript(f"BEGIN; {_SCHEMA}")
                for table, rows in self._master.items():
                    _insert(connection, table, rows)
            elif after > on:
                connection.execute("DELETE FROM PurchaseOrderDetail")
                connection.execute("DELETE FROM PurchaseOrderHeader")
                after = _NEVER
            self._advance(connection, after, on)
            connection.execute(f"PRAGMA user_version = {on.toordinal()}")

    def _advance(self, connection: sqlite3.Connection, after: date, on: date) -> None:
        """Lets everything happen that happens later than `after` and no later than `on`."""
        new_orders = _between(self._new_orders, after, on)
        pending = (o._replace(status=PENDING, modified_at=o.ordered_at) for o in new_orders)
        _insert(connection, "PurchaseOrderHeader", pending)
        new_lines = _between(self._new_lines, after, on)
        _insert(connection, "PurchaseOrderDetail", new_lines)
        connection.executemany(
            "UPDATE PurchaseOrderDetail SET ReceivedQty = ?, RejectedQty = ?, ModifiedDate = ?"
            " WHERE PurchaseOrderID = ? AND PurchaseOrderDetailID = ?",
            (
                (line.received, line.rejected, line.modified_at, line.order, line.number)
                for line in _between(self._receipts, after, on)
            ),
        )
        connection.executemany(
            "UPDATE PurchaseOrderHeader SET Status = ?, ModifiedDate = ? WHERE PurchaseOrderID = ?",
            (
                (order.status, order.modified_at, order.number)
                for order in _between(self._settlements, after, on)
            ),
        )

    def truth(self, on: date, since: date) -> dict[Key, LineTruth]:
        """What must be known after the run of `on`, if the first run ever was that of `since` and
        one ran on each date of the calendar in between; status codes 3 and 4 are not active.

        A line that is not in the answer was never seen: not ordered yet, or settled before.
        """
        known: dict[Key, LineTruth] = {}
        for life in self._lives:
            first_seen = max(since, life.ordered_on)
            final = _FINAL.get(life.code)
            if first_seen > on or (final and life.settled_on <= first_seen):
                continue
            delivered = life.delivered if life.received_on <= on else _NOTHING
            settled = life.settled_on <= on
            known[life.key] = LineTruth(
                active=not (settled and final),
                delivered=delivered,
                code=life.code if settled else PENDING,
                status=final if settled and final else _by_quantity(life.ordered, delivered),
                batches=_batches(delivered, life.received_on, first_seen),
            )
        return known


def _by_quantity(ordered: Decimal, delivered: Decimal) -> str:
    if delivered >= ordered > 0:
        return "fully_delivered"
    return "part_delivered" if delivered > 0 else "planned"


def _batches(delivered: Decimal, received_on: date, first_seen: date) -> tuple[BatchTruth, ...]:
    """At most one, as all of a line is received at once. Its date is always known: InDate is the
    day of the receipt, and a run happens on that day."""
    if not delivered:
        return ()
    kind = "opening" if received_on <= first_seen else "between_runs"
    return (BatchTruth(kind, delivered, received_on, date_uncertain=False),)


def _rows(folder: Path, table: str) -> list[list[str]]:
    with (folder / f"{table}.csv").open(encoding="ascii", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _day(moment: str) -> date:
    return date.fromisoformat(moment[:10])


def _between(events: Mapping[date, list[Row]], after: date, on: date) -> Iterator[Row]:
    for day in sorted(events):
        if after < day <= on:
            yield from events[day]


def _insert(connection: sqlite3.Connection, table: str, rows: Iterable[Sequence[str]]) -> None:
    """Adds rows of a file to its table; the empty text is NULL, computed columns are left out."""
    info = connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
    stored = [(position, name) for position, name, *_, hidden in info if not hidden]
    names = ", ".join(name for _, name in stored)
    marks = ", ".join("?" for _ in stored)
    connection.executemany(
        f"INSERT INTO {table} ({names}) VALUES ({marks})",  # noqa: S608  # names of our own schema
        ([row[position] or None for position, _ in stored] for row in rows),
    )
