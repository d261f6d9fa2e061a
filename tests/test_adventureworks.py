"""Real data: AdventureWorks' purchasing, at its end and night by night, through the whole pipeline.

The ERP's schema is one that nobody here designed, and what must come out is reckoned from the
sample's files alone (apps/demo/adventureworks.py).
"""

from __future__ import annotations

import csv
import os
import sqlite3
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from apps.demo.adventureworks import BatchTruth, Key, LineTruth, Replay

FOLDER = Path(
    os.environ.get("ADVENTUREWORKS_DIR") or settings.BASE_DIR.parent / "shared/data/adventureworks"
)
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason=f"the AdventureWorks sample is not at {FOLDER}; ADVENTUREWORKS_DIR may name its folder",
)

TABLES = {
    "PurchaseOrderHeader": 4_012,
    "PurchaseOrderDetail": 8_845,
    "Vendor": 104,
    "Product": 504,
    "ProductVendor": 460,
    "ProductSubcategory": 37,
    "ProductCategory": 4,
}


@pytest.fixture(scope="module")
def replay() -> Replay:
    return Replay(FOLDER)


def query(file: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute(sql).fetchall()


class TestLoader:
    @pytest.mark.parametrize(("table", "count"), TABLES.items())
    def test_a_table_holds_what_its_file_says_computed_columns_included(
        self, replay: Replay, tmp_path: Path, table: str, count: int
    ) -> None:
        replay.write(tmp_path / "erp.sqlite3")
        stored = query(tmp_path / "erp.sqlite3", f"SELECT * FROM {table} ORDER BY 1, 2")
        with (FOLDER / f"{table}.csv").open(encoding="ascii", newline="") as file:
            said = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        said.sort(key=lambda row: (int(row[0]), int(row[1]) if row[1].isdecimal() else 0))
        assert len(stored) == count
        for row, texts in zip(stored, said, strict=True):
            for value, text in zip(row, texts, strict=True):
                if isinstance(value, int | float):
                    assert value == pytest.approx(float(text), abs=0.00006)  # money has 4 decimals
                else:
                    assert (value or "") == text

    def test_values_have_the_kinds_of_the_real_schema(self, replay: Replay, tmp_path: Path) -> None:
        replay.write(tmp_path / "erp.sqlite3")
        status, due = query(
            tmp_path / "erp.sqlite3",
            "SELECT Status, DueDate FROM PurchaseOrderHeader NATURAL JOIN"
            " (SELECT PurchaseOrderID, DueDate FROM PurchaseOrderDetail) WHERE PurchaseOrderID = 1",
        )[0]
        assert (status, due) == (4, "2022-04-29 00:00:00.000")
        assert query(
            tmp_path / "erp.sqlite3", "SELECT ProductSubcategoryID FROM Product WHERE ProductID = 1"
        ) == [(None,)]

    def test_a_night_knows_nothing_of_the_days_after_it(
        self, replay: Replay, tmp_path: Path
    ) -> None:
        night = "2025-05-30"
        replay.write(tmp_path / "erp.sqlite3", date.fromisoformat(night))
        for table in ("PurchaseOrderHeader", "PurchaseOrderDetail"):
            assert query(tmp_path / "erp.sqlite3", f"SELECT MAX(ModifiedDate) FROM {table}") == [
                (f"{night} 00:00:00.000",)
            ]
        assert query(
            tmp_path / "erp.sqlite3",
            "SELECT DISTINCT Status, ReceivedQty, RejectedQty FROM PurchaseOrderHeader AS head"
            " JOIN PurchaseOrderDetail USING (PurchaseOrderID)"
            f" WHERE OrderDate = '{night} 00:00:00.000'",
        ) == [(1, 0, 0)]

    def test_bringing_a_file_forward_gives_what_writing_it_anew_gives(
        self, replay: Replay, tmp_path: Path
    ) -> None:
        for night in (date(2023, 1, 1), date(2025, 5, 30), date(2025, 6, 1)):
            replay.write(tmp_path / "brought_forward.sqlite3", night)
        replay.write(tmp_path / "anew.sqlite3", date(2025, 6, 1))
        replay.write(tmp_path / "brought_back.sqlite3")
        replay.write(tmp_path / "brought_back.sqlite3", date(2025, 6, 1))
        for table in TABLES:
            rows = {
                name: query(tmp_path / f"{name}.sqlite3", f"SELECT * FROM {table}")
                for name in ("anew", "brought_forward", "brought_back")
            }
            assert rows["brought_forward"] == rows["anew"]
            assert rows["brought_back"] == rows["anew"]

    def test_a_database_of_somebody_else_is_left_alone(
        self, replay: Replay, tmp_path: Path
    ) -> None:
        with closing(sqlite3.connect(tmp_path / "mine.sqlite3")) as connection:
            connection.execute("CREATE TABLE Diary (Entry text)")
        with pytest.raises(ValueError, match="holds other tables"):
            replay.write(tmp_path / "mine.sqlite3")
        assert query(tmp_path / "mine.sqlite3", "SELECT name FROM sqlite_master") == [("Diary",)]


class TestTruth:
    def test_a_line_lives_as_its_three_dates_say(self, replay: Replay) -> None:
        # Order 1: 4 pieces ordered on 15 April, 3 received on the 22nd, complete on the 24th.
        def told(on: date) -> LineTruth | None:
            return replay.truth(on, since=date(2022, 4, 1)).get(Key("1", "1"))

        batch = BatchTruth("between_runs", Decimal(3), date(2022, 4, 22), date_uncertain=False)
        assert told(date(2022, 4, 14)) is None
        assert told(date(2022, 4, 15)) == LineTruth(True, Decimal(0), "1", "planned", ())
        assert told(date(2022, 4, 21)) == LineTruth(True, Decimal(0), "1", "planned", ())
        assert told(date(2022, 4, 22)) == LineTruth(
            True, Decimal(3), "1", "part_delivered", (batch,)
        )
        assert told(date(2022, 4, 24)) == LineTruth(False, Decimal(3), "4", "closed", (batch,))

    def test_what_was_received_before_the_first_run_is_an_opening_batch(
        self, replay: Replay
    ) -> None:
        line = replay.truth(date(2022, 4, 24), since=date(2022, 4, 23))[Key("1", "1")]
        assert line.batches == (
            BatchTruth("opening", Decimal(3), date(2022, 4, 22), date_uncertain=False),
        )

    def test_an_order_settled_before_the_first_run_is_never_seen(self, replay: Replay) -> None:
        assert Key("1", "1") not in replay.truth(date(2022, 5, 1), since=date(2022, 4, 24))

    def test_the_calendar_runs_from_the_first_order_to_the_last_change(
        self, replay: Replay
    ) -> None:
        dates = replay.dates
        assert (dates[0], dates[-1], len(dates)) == (date(2022, 4, 15), date(2026, 8, 11), 495)
        assert dates == sorted(set(dates))


class TestCommand:
    def test_it_says_what_the_file_holds(self, tmp_path: Path, capsys: Any) -> None:
        file = tmp_path / "erp.sqlite3"
        call_command("load_adventureworks", str(FOLDER), str(file), "--on", "2025-05-30")
        assert "as of 2025-05-30" in capsys.readouterr().out
        assert query(
            tmp_path / "erp.sqlite3", "SELECT MAX(OrderDate) FROM PurchaseOrderHeader"
        ) == [("2025-05-30 00:00:00.000",)]

    def test_a_wrong_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match=r"Vendor\.csv is missing"):
            call_command("load_adventureworks", str(tmp_path), str(tmp_path / "erp.sqlite3"))

    def test_a_file_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CommandError, match="could not be written"):
            call_command("load_adventureworks", str(FOLDER), str(tmp_path / "nowhere" / "erp.db"))
