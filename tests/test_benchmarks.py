"""The benchmarks do the work they say they measure."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from django.db import DatabaseError

from benchmarks import erp_data, floor, ingestion, servers, web
from tests.sql_server import is_babelfish

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


def result(
    lines: int,
    seconds: float,
    floor_seconds: float,
    megabytes: int,
    sqlite_seconds: float | None = None,
) -> ingestion.Result:
    ours = ingestion.Sample(seconds, megabytes * ingestion.MEGABYTE)
    sqlite = None if sqlite_seconds is None else ingestion.Sample(sqlite_seconds, 0)
    return ingestion.Result(lines, "nightly", 3, ours, ingestion.Sample(floor_seconds, 0), sqlite)


@pytest.mark.parametrize(
    ("results", "missed"),
    [
        ([result(5_000, 1.4, 0.1, 90)], []),
        ([result(5_000, 1.5, 0.1, 90)], ["1.50 s"]),
        ([result(100_000, 3.0, 1.0, 399)], []),
        ([result(100_000, 3.1, 1.0, 400)], ["3.10 times the floor", "400 MB"]),
        ([result(1_000_000, 29.0, 10.0, 999)], []),
        ([result(100_000, 2.0, 1.0, 90), result(1_000_000, 29.0, 10.0, 999)], ["1.45 times"]),
        # On a server it is measured against SQLite, not against the floor.
        ([result(100_000, 6.0, 1.0, 399, 3.0)], []),
        ([result(100_000, 6.1, 1.0, 400, 3.0)], ["2.03 times SQLite", "400 MB"]),
        ([result(5_000, 1.6, 0.1, 90, 0.5)], []),
    ],
)
def test_a_missed_goal_is_named(results: list[ingestion.Result], missed: list[str]) -> None:
    told = ingestion.missed_goals(results)
    assert len(told) == len(missed)
    assert all(part in goal for part, goal in zip(missed, told, strict=True))


def address(variable: str) -> str:
    return os.environ.get(variable) or pytest.skip(f"needs a server ({variable})")


@pytest.fixture(params=sorted(servers.SERVERS))
def server(request: pytest.FixtureRequest, db: None) -> servers.Server:
    """Each server that the suite is told of."""
    kind = servers.SERVERS[request.param]
    return kind(address(kind.url_variable))


@pytest.fixture
def scratch(server: servers.Server) -> Iterator[str]:
    with server.scratch_database("test") as url:
        yield url


def rows_in(url: str) -> list[tuple[object, ...]]:
    with closing(servers.connect(url)) as link, link.cursor() as cursor:
        name = link.ops.quote_name
        key = ", ".join(name(erp_data.COLUMNS[field].name) for field in erp_data.KEY)
        cursor.execute(f"SELECT * FROM {name(erp_data.TABLE)} ORDER BY {key}")
        return [
            tuple(value.rstrip() if isinstance(value, str) else value for value in row)
            for row in cursor.fetchall()
        ]


def test_a_server_has_the_same_erp_as_sqlite_night_after_night(
    erp: erp_data.SqliteErp, server: servers.Server, scratch: str
) -> None:
    copy = servers.ServerErp(server, scratch, erp)
    for expected in (copy.create(), copy.live_through(1, 0.1)):
        assert expected.lines_created == LINES or expected.lines_changed == 20
        with closing(sqlite3.connect(erp.file)) as source:
            stored = source.execute(f"SELECT * FROM {erp_data.TABLE} ORDER BY PURNBR, LINNBR")
            assert rows_in(scratch) == [tuple(servers.typed(row)) for row in stored]


def test_a_scratch_database_is_gone_afterwards_whatever_happened(server: servers.Server) -> None:
    connected = []

    def use_and_fail() -> None:
        with server.scratch_database("test") as url:
            connected.append((url, servers.connect(url)))
            connected[0][1].ensure_connection()
            if is_babelfish(connected[0][1]):
                connected[0][1].close()  # it cannot throw anybody out
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use_and_fail()
    url, link = connected[0]
    link.close()
    with pytest.raises(DatabaseError):
        servers.connect(url).ensure_connection()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p@h:5432/any?sslmode=require", "postgres://u:p@h:5432/own?sslmode=require"),
        ("postgres://u@//run/socket/any", "postgres://u@//run/socket/own"),
        ("mssql://u:p@h/any?encrypt=no", "mssql://u:p@h/own?encrypt=no"),
    ],
)
def test_another_database_of_a_server_is_reached_in_the_same_way(url: str, expected: str) -> None:
    assert servers.Server(url)._address("own") == expected


def test_the_erp_may_have_a_server_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_MSSQL_URL", "mssql://own/x")
    monkeypatch.delenv("TEST_MSSQL_ERP_URL", raising=False)

    def found(url: str | None = None) -> list[str]:
        return [server.url for server in servers.servers("mssql", url) or ()]

    assert found() == ["mssql://own/x", "mssql://own/x"]
    monkeypatch.setenv("TEST_MSSQL_ERP_URL", "mssql://erp/x")
    assert found() == ["mssql://own/x", "mssql://erp/x"]
    assert found("mssql://said/x") == ["mssql://said/x", "mssql://said/x"]
    monkeypatch.delenv("TEST_MSSQL_URL")
    assert found() == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--engine", "postgres"], "TEST_POSTGRES_URL"),
        (["--engine", "postgres", "--floor-only"], "--floor-only goes without --engine"),
        (["--database-url", "postgres://h/x"], "add --engine"),
    ],
)
def test_wrong_usage_is_told(
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("TEST_POSTGRES_URL", raising=False)
    with pytest.raises(SystemExit) as end:
        ingestion.main(["--lines", "10", *arguments])
    assert end.value.code == 2
    assert told in capsys.readouterr().err


# --- pages ----------------------------------------------------------------------------------------


@pytest.mark.process
def test_ten_people_at_once_get_the_right_answers_from_the_real_server(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert web.main(["--lines", "60", "--seconds", "1", "--pause", "0", "--check"]) == 0
    said = capsys.readouterr().out
    assert "0 wrong answers" in said
    for click in ("first page", "preset", "sort", "filter", "search", "line", "section of a line"):
        assert click in said


def test_a_click_that_takes_too_long_or_goes_wrong_misses_its_goal() -> None:
    times = web.Times()
    for kind in ("sort", "search"):
        times.seconds[kind] = [0.1] * 90 + [0.6] * 10
    assert web.percentiles(times.seconds["sort"]) == (100, 600)
    assert web.missed_goals(1_000_000, times) == [
        "1,000,000 lines, sort: p95 600 ms, goal under 500 ms"
    ]
    assert web.missed_goals(60, times) == []
    times.wrong.append("500 /po/")
    assert web.missed_goals(60, times) == ["60 lines: 500 /po/"]
