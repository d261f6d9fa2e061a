"""The state of the simulated ERP and the few ways in which it can be changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import ROUND_DOWN, Decimal
from random import Random

from apps.demo.ledger import (
    LADDER,
    TWINS,
    Event,
    Fault,
    Happening,
    Key,
    Line,
    Night,
    Receipt,
    Value,
)
from apps.demo.market import CUSTOMERS, PIECE, Article, Market, Vendor

# No line moves, and no key is used again, so soon after the line came, left or was faulty. So an
# application that runs every night, or misses a few, has seen what came before.
SETTLING_NIGHTS = 5


class Books:
    """Everything the ERP's people know, kept so that a night costs no more than what changes."""

    def __init__(self, random: Random, market: Market, start: date) -> None:
        self.random = random
        self.market = market
        self.today = start
        self.lines: dict[Key, Line] = {}
        self.former: list[Line] = []  # whose key belongs to another order now
        self.nights: list[Night] = []
        self.events: list[Event] = []  # of tonight
        self.opening_size = 0
        # What a file of an earlier revision needs to be brought forward.
        self.revision = 0
        self.removed_rows: list[tuple[int, int]] = []  # revision, row
        self.stamps: dict[int, int] = {}
        self._last_order = 10_000
        self._last_number: dict[str, int] = {}
        self._last_row = 0
        self._last_receipt = 0

    # Chance

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def some(self, pool: Sequence[Line], share: float) -> list[Line]:
        """That share of the lines, at random; the count is right in the long run."""
        return self.random.sample(pool, min(len(pool), self.count(len(pool), share)))

    def count(self, size: int, share: float) -> int:
        expected = size * share
        return int(expected) + self.chance(expected % 1)

    def part(self, quantity: Decimal, low: int, high: int, step: Decimal) -> Decimal:
        """From `low` to `high` percent of a quantity in whole steps, one step at least."""
        exact = quantity * self.random.randint(low, high) / 100
        return max(exact.quantize(step, rounding=ROUND_DOWN), step)

    def days(self, low: int, high: int) -> timedelta:
        return timedelta(days=self.random.randint(low, high))

    # Orders and lines

    def vendor_of(self, line: Line) -> Vendor:
        # Codes are numbered from one, in the order of the list.
        return self.market.vendors[int(line.supplier_code[1:]) - 1]

    def order(self, count: int, inserted_on: date, *, unmapped: float = 0.0) -> list[Line]:
        """A new order of at most eight lines; that share of them with an unmapped item code."""
        self._last_order += 1
        po_number = f"P{self._last_order:07d}"
        vendor = self.random.choice(self.market.vendors)
        customer = self.random.choice(CUSTOMERS)
        promised_on = inserted_on + self.days(40, 160)
        lines = []
        for _ in range(min(count, self.random.randint(1, 8))):
            article = self.article_of(vendor, unmapped=unmapped)
            line = self.enter(
                po_number, self.next_number(po_number), vendor, article, customer, inserted_on
            )
            line.promised_on = None if self.chance(0.03) else promised_on
            lines.append(line)
        return lines

    def article_of(self, vendor: Vendor, *, unmapped: float) -> Article:
        if self.chance(unmapped):
            return self.market.new_article(vendor, mapped=False)
        return self.random.choice(vendor.articles)

    def next_number(self, po_number: str) -> int:
        number = self._last_number.get(po_number, 0) + 10
        self._last_number[po_number] = number
        return number

    def enter(
        self,
        po_number: str,
        number: int,
        vendor: Vendor,
        article: Article,
        customer: str,
        inserted_on: date,
    ) -> Line:
        """A new line, not yet promised; what stood under its key is replaced."""
        line = Line(
            po_number=po_number,
            number=number,
            generation=1,
            supplier_code=vendor.code,
            supplier_name=vendor.name,
            item_code=article.code,
            family=article.family,
            own_sku=article.own_sku,
            customer=customer,
            step=article.step,
            ordered=self._lot(article),
            code=LADDER[0],
            inserted_on=inserted_on,
            promised_on=None,
            updated_on=inserted_on,
            forgotten=self.chance(0.02),
        )
        former = self.lines.get(line.key)
        if former:
            line.generation = former.generation + 1
            self.former.append(former)
            self.remove_row(former)
        self.lines[line.key] = line
        self.add_row(line)
        return line

    def _lot(self, article: Article) -> Decimal:
        pieces = self.random.choice((10, 24, 50, 100, 250, 500, 1200, 5000))
        lot = Decimal(pieces * self.random.randint(1, 9))
        return lot if article.step == PIECE else lot + article.step * self.random.randrange(1000)

    def receive(self, line: Line, quantity: Decimal, received_on: date) -> Receipt:
        self._last_receipt += 1
        receipt = Receipt(f"G{self._last_receipt:08d}", received_on, quantity)
        line.receipts += (receipt,)
        line.in_date = received_on
        return receipt

    # Rows

    def add_row(self, line: Line) -> None:
        self._last_row += 1
        line.row_id = self._last_row
        self.restyle(line)

    def add_twin(self, line: Line) -> None:
        self._last_row += 1
        line.twin_row_id = self._last_row

    def remove_row(self, line: Line) -> None:
        for row_id in (line.row_id, line.twin_row_id):
            if row_id:
                self.removed_rows.append((self.revision, row_id))
        line.row_id = line.twin_row_id = 0

    def touch(self, line: Line) -> None:
        """The row is written anew with a value that differs."""
        line.updated_on = self.today
        line.updated_at = self.random.randrange(24 * 60)
        self.restyle(line)

    def restyle(self, line: Line) -> None:
        """The row is written anew; nothing in it means anything else than before."""
        line.clock = self.random.randrange(24 * 60)
        line.style = self.random.randrange(3)
        line.revision = self.revision

    def spoil(self, line: Line, fault: Fault) -> None:
        line.fault = fault
        line.settled_since = self.today
        line.revision = self.revision
        if fault in TWINS:
            self.add_twin(line)

    def repair(self, line: Line) -> None:
        if line.twin_row_id:
            self.removed_rows.append((self.revision, line.twin_row_id))
            line.twin_row_id = 0
        line.fault = None
        line.settled_since = self.today
        line.revision = self.revision

    def is_settled(self, line: Line) -> bool:
        return (self.today - line.settled_since).days > SETTLING_NIGHTS

    # The record

    def tell(
        self,
        kind: Happening,
        line: Line,
        field: str = "",
        old: Value = None,
        new: Value = None,
        receipt: Receipt | None = None,
    ) -> None:
        event = Event(kind, line.supplier_code, line.key, line.generation, field, old, new, receipt)
        self.events.append(event)

    def end_night(self) -> Night:
        night = Night(self.today, tuple(self.events))
        self.events.clear()
        self.nights.append(night)
        self.stamp()
        return night

    def stamp(self) -> None:
        """Gives this revision a number that a file can carry, so that it is known again."""
        self.stamps[self.random.getrandbits(30) + 1] = self.revision
