"""A simulated ERP that lives day by day: a legacy system that overwrites its rows.

    world = World(seed=1, lines=5000)
    world.write(path)               # the ERP's SQLite file as it stands
    night = world.live_one_night()  # what happened
    world.save(path)                # the file brought forward
    world.truth                     # what a faithful application must know

The same seed and sizes give the same history on every machine. Worlds can be copied
(`copy.deepcopy`) and pickled. `habits` may be replaced between nights.
"""

from __future__ import annotations

import sqlite3
from datetime import date
from pathlib import Path
from random import Random

from apps.demo import sqlite_erp
from apps.demo.books import Books
from apps.demo.habits import Habits
from apps.demo.ledger import Night
from apps.demo.market import Market, XrefRow
from apps.demo.nights import Tonight
from apps.demo.opening import open_books
from apps.demo.truth import Truth

FIRST_DAY = date(2026, 1, 5)


class World:
    """That many active lines at the start, and history beside them: closed lines (`history` says
    how many, as a share of the active ones) and a few delivered long ago and never closed.

    Raises ValueError without lines or suppliers.
    """

    def __init__(
        self,
        seed: int,
        lines: int,
        suppliers: int = 30,
        start: date = FIRST_DAY,
        habits: Habits | None = None,
        history: float = 0.4,
    ) -> None:
        if lines < 1 or suppliers < 1:
            raise ValueError(f"{lines} lines of {suppliers} suppliers: give at least one of each.")
        random = Random(seed)
        articles_each = min(max(lines // suppliers // 2, 3), 60)
        self._books = Books(random, Market(random, suppliers, articles_each), start)
        self.habits = habits or Habits()
        open_books(self._books, lines, history)

    @property
    def today(self) -> date:
        """The date of the last night, at first the start."""
        return self._books.today

    @property
    def truth(self) -> Truth:
        """What is so now; asked after another night it tells of that one."""
        return Truth(self._books)

    @property
    def nights(self) -> list[Night]:
        """What happened, night by night."""
        return self._books.nights

    def live_one_night(self) -> Night:
        """Goes to the next date and tells what happened on the way."""
        return Tonight(self._books, self.habits).live()

    def write(self, path: Path) -> None:
        """Writes the ERP's file as it stands, whatever the file held before.

        Raises sqlite3.DatabaseError for a file that is not an SQLite database.
        """
        sqlite_erp.write_file(path, self._books)

    def save(self, path: Path) -> None:
        """Brings a file that this world wrote earlier up to date; writes any other as `write` does.

        What somebody else changed in the file meanwhile stays in the rows that did not change here.
        """
        sqlite_erp.save_file(path, self._books)

    def write_into(self, connection: sqlite3.Connection) -> None:
        """As `write`, into a connection without an open transaction."""
        sqlite_erp.write(connection, self._books)

    def save_into(self, connection: sqlite3.Connection) -> None:
        """As `save`, into a connection without an open transaction."""
        sqlite_erp.save(connection, self._books)

    def mapping_toml(self, receipts: bool = False) -> str:
        """The ERP mapping of this ERP, with the receipts relation if asked."""
        return sqlite_erp.mapping_toml(receipts=receipts)

    def xref_entries(self) -> list[XrefRow]:
        """The cross-reference: every item code that somebody has mapped."""
        return list(self._books.market.xref.values())

    def close_gaps(self, at_most: int) -> list[XrefRow]:
        """Somebody maps item codes in use that are not; returns the new entries."""
        gaps = sorted(self.truth.unmapped())[:at_most]
        return [self._books.market.map_code(*gap) for gap in gaps]
