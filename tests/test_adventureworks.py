"""Real data: AdventureWorks' purchasing, at its end and night by night, through the whole pipeline.

The ERP's schema is one that nobody here designed, and what must come out is reckoned from the
sample's files alone (apps/demo/adventureworks.py).
"""

from __future__ import annotations

import csv
import io
import json
import os
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db.models import F

from apps.batches.models import Batch
from apps.demo.adventureworks import BatchTruth, Key, LineTruth, Replay
from apps.po.models import POLine, Presence
from tests.erp import use_erp

FOLDER = Path(
    os.environ.get("ADVENTUREWORKS_DIR") or settings.BASE_DIR.parent / "shared/data/adventureworks"
)
pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(),
    reason=f"the AdventureWorks sample is not at {FOLDER}; ADVENTUREWORKS_DIR may name its folder",
)

EXAMPLES = settings.BASE_DIR / "docs" / "examples"
BY_JOIN = EXAMPLES / "adventureworks.toml"
BY_VIEW = EXAMPLES / "adventureworks_view.toml"

# The liveliest weeks of the sample: something happens on each of these days.
FIRST_NIGHT, LAST_NIGHT = date(2025, 5, 25), date(2025, 7, 24)

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


@pytest.fixture(scope="module")
def end_state(replay: Replay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ERP as the sample ends, with the view of the second example."""
    file = tmp_path_factory.mktemp("adventureworks") / "erp.sqlite3"
    replay.write(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((EXAMPLES / "adventureworks_view.sql").read_text("utf-8"))
    return file


def run(as_of: date | None = None) -> dict[str, Any]:
    """One run through the command; its report."""
    output = io.StringIO()
    arguments = ["--json", *(["--as-of", as_of.isoformat()] if as_of else [])]
    try:
        call_command("run_ingestion", *arguments, stdout=output)
    except SystemExit as stopped:
        pytest.fail(f"run_ingestion ended with {stopped.code}: {output.getvalue()[-1_000:]}")
    report: dict[str, Any] = json.loads(output.getvalue())
    return report


def known() -> dict[Key, LineTruth]:
    """What the application knows, in the terms of the replay's truth."""
    batches: dict[int, list[BatchTruth]] = defaultdict(list)
    for line, kind, quantity, delivered_on, uncertain in Batch.objects.order_by("pk").values_list(
        "po_line_id", "kind", "quantity", "delivered_on", "date_uncertain"
    ):
        assert delivered_on is not None
        batches[line].append(BatchTruth(kind, quantity, delivered_on, uncertain))
    lines = POLine.objects.values_list(
        "pk",
        "po_number",
        "line_number",
        "presence",
        "delivered_quantity",
        "erp_status",
        "status",
    )
    return {
        Key(po_number, line_number): LineTruth(
            active=presence == Presence.PRESENT,
            delivered=delivered,
            code=code,
            status=status,
            batches=tuple(batches[pk]),
        )
        for pk, po_number, line_number, presence, delivered, code, status in lines
    }


def differences(found: dict[Key, LineTruth], expected: dict[Key, LineTruth]) -> list[object]:
    """The first few lines that are not as they must be: key, found, expected."""
    keys = [key for key in found | expected if found.get(key) != expected.get(key)]
    return [(key, found.get(key), expected.get(key)) for key in keys[:5]]


@pytest.mark.django_db
class TestEndState:
    def test_the_shipped_mapping_takes_the_534_lines_of_open_orders(self, end_state: Path) -> None:
        with use_erp(end_state, BY_JOIN):
            report = run()
        assert (report["mode"], report["status"]) == ("baseline", "success")
        assert (report["po_lines_processed"], report["new_lines_created"]) == (534, 534)
        assert Counter(POLine.objects.values_list("erp_status", flat=True)) == {"1": 477, "2": 57}

    def test_with_every_status_active_all_8845_lines_are_taken_and_end_as_they_must(
        self, end_state: Path
    ) -> None:
        mapping = BY_JOIN.read_text("utf-8")
        all_active = mapping.replace("closed_statuses = [3, 4]", "closed_statuses = []")
        assert all_active != mapping
        with use_erp(end_state, all_active):
            report = run()
        assert (report["status"], report["po_lines_processed"]) == ("success", 8_845)
        assert Counter(POLine.objects.values_list("erp_status", "status")) == {
            ("1", "fully_delivered"): 434,  # pending, yet received in full
            ("1", "part_delivered"): 43,
            ("2", "fully_delivered"): 54,
            ("2", "part_delivered"): 3,
            ("3", "cancelled"): 142,
            ("4", "closed"): 8_169,
        }
        short = POLine.objects.filter(erp_status="4", delivered_quantity__lt=F("ordered_quantity"))
        assert Counter(short.values_list("status", flat=True)) == {"closed": 754}

    @pytest.mark.parametrize("mapping", [BY_JOIN, BY_VIEW], ids=["by join", "by view"])
    def test_each_mapped_field_arrives_as_the_sample_has_it(
        self, end_state: Path, mapping: Path
    ) -> None:
        with use_erp(end_state, mapping):
            run()
        with closing(sqlite3.connect(end_state)) as connection:
            expected = connection.execute(
                "SELECT CAST(line.PurchaseOrderID AS text), CAST(PurchaseOrderDetailID AS text),"
                " AccountNumber, vendor.Name, ProductNumber, IFNULL(family.Name, ''), OrderQty,"
                " StockedQty, CAST(Status AS text), DATE(DueDate), DATE(line.ModifiedDate),"
                " DATE(OrderDate)"
                " FROM PurchaseOrderDetail AS line JOIN PurchaseOrderHeader USING (PurchaseOrderID)"
                " JOIN Vendor AS vendor ON BusinessEntityID = VendorID"
                " JOIN Product AS product USING (ProductID)"
                " LEFT JOIN ProductSubcategory AS family USING (ProductSubcategoryID)"
                " WHERE Status IN (1, 2)"
            ).fetchall()
        stored = POLine.objects.values_list(
            "po_number",
            "line_number",
            "supplier__code",
            "supplier__name",
            "erp_item_code",
            "erp_item",
            "ordered_quantity",
            "delivered_quantity",
            "erp_status",
            "promised_date",
            "in_date",
            "po_insert_date",
        )
        assert {(*row[:9], *map(str, row[9:])) for row in stored} == set(expected)


@pytest.mark.django_db
def test_60_nights_give_the_true_batches_and_statuses_line_by_line(
    replay: Replay, tmp_path: Path
) -> None:
    erp = tmp_path / "erp.sqlite3"
    nights = [night for night in replay.dates if FIRST_NIGHT <= night <= LAST_NIGHT]
    assert len(nights) == 61  # the baseline and 60 more
    before: dict[Key, LineTruth] = {}
    with use_erp(erp, BY_JOIN):
        for night in nights:
            replay.write(erp, night)
            report = run(night)
            truth = replay.truth(night, since=FIRST_NIGHT)
            assert differences(known(), truth) == []
            assert report["status"] == "success"
            assert report["po_lines_processed"] == _active(truth)
            assert report["new_lines_created"] == len(truth) - len(before)
            assert report["lines_left"] == _active(before) - _active(
                {key: truth[key] for key in before}
            )
            assert report["batches_reconstructed"] == _batch_count(truth) - _batch_count(before)
            before = truth
    # The stretch is worth its name: what can happen has happened, many times.
    assert Counter(line.status for line in before.values()) == {
        "planned": 255,
        "part_delivered": 8,
        "fully_delivered": 70,
        "closed": 1_648,
        "cancelled": 15,
    }
    assert Counter(batch.kind for line in before.values() for batch in line.batches) == {
        "opening": 46,
        "between_runs": 1_680,
    }


def _active(lines: dict[Key, LineTruth]) -> int:
    return sum(line.active for line in lines.values())


def _batch_count(lines: dict[Key, LineTruth]) -> int:
    return sum(len(line.batches) for line in lines.values())
