"""The simulated ERP as it stands on its first day, after years of use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from apps.demo.books import Books
from apps.demo.ledger import CANCELLED_CODE, CLOSED_CODES, LADDER, Line

LOOKBACK_DAYS = 730  # as erp_mapping.toml has it


def open_books(books: Books, lines: int, history: float) -> None:
    """Fills empty books with that many active lines, a few more that were delivered long ago and
    never closed, and closed ones that stay in the table (`history`: as a share of the active)."""
    books.opening_size = lines
    ageing = lines // 200
    for line in _order(books, lines - ageing, 0, 150):
        _make_active(books, line)
    # Some of these pass the lookback in the nights to come; the others did so long ago.
    for line in _order(books, ageing, LOOKBACK_DAYS - 60, LOOKBACK_DAYS):
        _forget(books, line)
    for line in _order(books, max(1, lines // 100), LOOKBACK_DAYS + 1, 2 * LOOKBACK_DAYS):
        _forget(books, line)
    for line in _order(books, int(lines * history), 200, 900):
        _make_final(books, line)
    books.stamp()


def _order(books: Books, count: int, low: int, high: int) -> Iterator[Line]:
    """New orders, `low` to `high` days old, of that many lines in all."""
    while count:
        lines = books.order(count, books.today - books.days(low, high))
        count -= len(lines)
        yield from lines


def _make_active(books: Books, line: Line) -> None:
    if books.chance(0.3):
        line.custom_date = line.inserted_on + books.days(10, 60)
    if books.chance(0.3):
        line.custom_text = f"MSKU{books.random.randrange(10**7):07d}"
    if books.chance(0.3):
        line.custom_decimal = books.part(line.ordered, 1, 30, line.step)
    elapsed = (books.today - line.inserted_on).days
    line.code = LADDER[min(elapsed * books.random.randint(2, 6) // 100, len(LADDER) - 1)]
    line.updated_on = line.inserted_on + timedelta(days=books.random.randint(0, elapsed))
    if line.promised_on is None or line.promised_on > books.today + timedelta(days=14):
        return
    # About a quarter of the lines is due: together a few percent of all.
    if books.chance(0.18):
        _deliver(books, line, 20, 80)
    elif books.chance(0.12):
        _deliver(books, line, 100, 100)
    # A supplier that is late has said so, at least sometimes.
    if line.outstanding and books.chance(0.5):
        line.promised_on = max(line.promised_on, books.today) + books.days(0, 30)


def _forget(books: Books, line: Line) -> None:
    _deliver(books, line, 100, 100)
    line.code = LADDER[-1]
    line.forgotten = True


def _make_final(books: Books, line: Line) -> None:
    if books.chance(0.08):
        line.code = CANCELLED_CODE
        return
    _deliver(books, line, 90 if books.chance(0.1) else 100, 100)
    line.code = CLOSED_CODES[0]


def _deliver(books: Books, line: Line, low: int, high: int) -> None:
    """One receipt, or two, of `low` to `high` percent of what was ordered."""
    quantity = books.part(line.ordered, low, high, line.step)
    elapsed = (books.today - line.inserted_on).days
    received_on = books.today - books.days(0, elapsed - 20)  # nothing arrives sooner
    if books.chance(0.2):
        first = books.part(quantity, 30, 60, line.step)
        books.receive(line, first, received_on - timedelta(days=9))
        quantity -= first
    books.receive(line, quantity, received_on)
    line.updated_on = received_on
