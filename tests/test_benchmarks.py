"""The benchmarks do the work they say they measure."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import erp_data, floor, ingestion

LINES = 200


@pytest.fixture
def erp(tmp_path: Path) -> erp_data.SqliteErp:
    return erp_data.SqliteErp(tmp_path / "erp.sqlite3", LINES)


def written(own: Path, run: int) -> dict[str, int]:
    """How many rows of each table one run of the floor has written."""
    tables = ("snapshot", "event", "change", "batch")
    with closing(sqlite3.connect(own)) as database:
        return {
            table: database.execute(
                f"SELECT count(*) FROM {table} WHERE run = ?", (run,)
            ).fetchone()[0]
            for table in tables
        }


def test_the_floor_writes_exactly_what_the_erp_changed(
    erp: erp_data.SqliteErp, tmp_path: Path
) -> None:
    own = tmp_path / "floor.sqlite3"
    first = erp.create()
    report = floor.run_night(erp.file, own)
    assert (report["created"], report["batches"]) == (LINES, first.batches)
    assert written(own, 1) == {"snapshot": LINES, "event": 1, "change": 0, "batch": first.batches}

    for night in (1, 2):
        expected = erp.live_through(night, 0.1)
        assert expected.lines_changed == 20
        assert 0 < expected.batches < 20 < expected.change_events
        report = floor.run_night(erp.file, own)
        assert report["changed"] == 20
        assert written(own, 1 + night) == {
            "snapshot": LINES,
            "event": 20,
            "change": expected.change_events,
            "batch": expected.batches,
        }

    with closing(sqlite3.connect(own)) as database, closing(sqlite3.connect(erp.file)) as source:
        lines = database.execute(f"SELECT {', '.join(floor.FIELDS)} FROM line ORDER BY 1, 2")
        assert lines.fetchall() == source.execute(f"{floor.SELECT} ORDER BY 1, 2").fetchall()
        # Batches add up to what the ERP says is delivered.
        unequal = database.execute(
            "SELECT count(*) FROM line WHERE delivered_quantity <>"
            " coalesce((SELECT sum(quantity) FROM batch WHERE batch.line = line.id), 0)"
        )
        assert unequal.fetchone() == (0,)


def test_the_floor_tells_lines_that_appear_leave_and_return(
    erp: erp_data.SqliteErp, tmp_path: Path
) -> None:
    own = tmp_path / "floor.sqlite3"
    erp.create()
    floor.run_night(erp.file, own)

    def night(statement: str) -> dict[str, int]:
        with closing(sqlite3.connect(erp.file)) as source, source:
            source.execute(statement)
        report = floor.run_night(erp.file, own)
        return {what: count for what, count in report.items() if count}

    table, key = erp_data.TABLE, "PURNBR = 'PO0000001' AND LINNBR = '10'"
    away = f"UPDATE {table} SET PURNBR = 'AWAY' WHERE {key}"
    back = f"UPDATE {table} SET PURNBR = 'PO0000001' WHERE PURNBR = 'AWAY'"
    night(f"UPDATE {table} SET QTYRCV = 0 WHERE {key}")  # so that no opening batch is expected
    assert night(away) == {"created": 1, "left": 1}
    assert night(back) == {"returned": 1, "left": 1}


def test_the_same_night_is_the_same_everywhere(erp: erp_data.SqliteErp, tmp_path: Path) -> None:
    other = erp_data.SqliteErp(tmp_path / "other.sqlite3", LINES)
    assert erp.create() == other.create()
    assert erp.live_through(1, 0.1) == other.live_through(1, 0.1)
    with closing(sqlite3.connect(erp.file)) as one, closing(sqlite3.connect(other.file)) as two:
        assert list(one.iterdump()) == list(two.iterdump())


@pytest.mark.process
def test_the_benchmark_runs_and_prints_its_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert ingestion.main(["--lines", str(LINES), "--nights", "1", "--floor-only"]) == 0
    printed = capsys.readouterr().out
    assert "baseline" in printed
    assert "nightly" in printed


@pytest.mark.process
def test_a_result_for_other_work_is_refused(erp: erp_data.SqliteErp, tmp_path: Path) -> None:
    expected = replace(erp.create(), batches=1)
    with pytest.raises(ingestion.BenchmarkError, match="different work"):
        ingestion._sample(ingestion.Floor(tmp_path, erp), expected)


def result(lines: int, seconds: float, floor_seconds: float, megabytes: int) -> ingestion.Result:
    ours = ingestion.Sample(seconds, megabytes * ingestion.MEGABYTE)
    return ingestion.Result(lines, "nightly", 3, ours, ingestion.Sample(floor_seconds, 0))


@pytest.mark.parametrize(
    ("results", "missed"),
    [
        ([result(5_000, 1.4, 0.1, 90)], []),
        ([result(5_000, 1.5, 0.1, 90)], ["1.50 s"]),
        ([result(100_000, 3.0, 1.0, 399)], []),
        ([result(100_000, 3.1, 1.0, 400)], ["3.10 times the floor", "400 MB"]),
        ([result(1_000_000, 29.0, 10.0, 999)], []),
        ([result(100_000, 2.0, 1.0, 90), result(1_000_000, 29.0, 10.0, 999)], ["1.45 times"]),
    ],
)
def test_a_missed_goal_is_named(results: list[ingestion.Result], missed: list[str]) -> None:
    told = ingestion.missed_goals(results)
    assert len(told) == len(missed)
    assert all(part in goal for part, goal in zip(missed, told, strict=True))
