"""Law 5: killed at any moment and run again, the end state is that of an undisturbed run; and law 8
with real processes. The children are real ones, on SQLite files of their own (tests/launcher.py).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings

from apps.demo.habits import Habits
from apps.demo.sqlite_erp import CUSTOM_COLUMNS
from apps.demo.world import World
from apps.ingestion import pipeline
from tests.launcher import Answer, Job
from tests.nights import START

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither fork nor SIGKILL."),
]

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
KILLED = -9


def environment(folder: Path) -> dict[str, str]:
    unused = f"sqlite:///{(folder / 'unused.sqlite3').as_posix()}"
    return os.environ | {
        "DJANGO_SETTINGS_MODULE": "po_tracking.settings.development",
        "DATABASE_URL": unused,
        "ERP_DATABASE_URL": unused,
        "LOG_DIR": str(folder / "log"),
    }


class Launcher:
    """A running tests/launcher.py."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.launcher"],
            cwd=settings.BASE_DIR,
            env=environment(folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: Job) -> Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asdict(job)) + "\n")
        self.process.stdin.flush()
        return Answer(**json.loads(self.process.stdout.readline()))

    def end(self) -> None:
        self.process.communicate()


# --- what a database holds ----------------------------------------------------------------------

State = dict[str, Counter[str]]

_MODELS = [
    model
    for label in ("po", "batches", "audit", "ingestion")
    for model in apps.get_app_config(label).get_models()
]
_TIMES = frozenset(
    {
        "recorded_at", "started_at", "finished_at", "duration_seconds", "stage_seconds",
        "extraction_started_at", "extraction_finished_at", "updated_at", "identifier",
        "host", "pid", "process_started", "expires_at",
    }
)  # fmt: skip
_OF_RUNS = ("ingestion_completed", "ingestion_failed")
_RECORDS = ("IngestionRun", "ERPSnapshot", "RejectedRow")


class Database:
    """Every row of a database in words that mean the same in another one: keys instead of ids, runs
    by their place among the applied ones, no clock times."""

    def __init__(self, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.row_factory = sqlite3.Row
            self.rows = {
                model.__name__: [
                    dict(row) for row in connection.execute(f"SELECT * FROM {model._meta.db_table}")
                ]
                for model in _MODELS
            }
            (self.integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
        runs = sorted(self.rows["IngestionRun"], key=lambda run: run["id"])
        applied = [run["id"] for run in runs if run["status"] in ("success", "partial")]
        self.runs = {run["id"]: run for run in runs}
        self.ordinals = {pk: f"applied run {place}" for place, pk in enumerate(applied, start=1)}
        self.failed = [run for run in runs if run["status"] == "failed"]
        self.running = [run for run in runs if run["status"] == "running"]
        self.applied = applied

    def state(self, applied: int) -> State:
        """All there is but the records of runs: of all but that many applied ones."""
        names = self._names(self.applied[:applied])
        state: State = {}
        for model in _MODELS:
            foreign = {f.column: f.related_model for f in model._meta.fields if f.is_relation}
            found: Counter[str] = Counter()
            for row in self.rows[model.__name__]:
                told = self._told(model.__name__, row, foreign, names)
                if told is not None:
                    found[json.dumps(told, sort_keys=True, default=str)] += 1
            state[model.__name__] = found
        return state

    def _names(self, applied: list[int]) -> dict[str, dict[Any, str]]:
        rows = self.rows
        lines = {
            row["id"]: f"{row['po_number']}/{row['line_number']}/{row['generation']}"
            for row in rows["POLine"]
        }
        runs = {pk: name if pk in applied else "a record" for pk, name in self.ordinals.items()}
        return {
            "POLine": lines,
            "Supplier": {row["id"]: row["code"] for row in rows["Supplier"]},
            "FieldSet": {row["id"]: row["digest"] for row in rows["FieldSet"]},
            "IngestionRun": {pk: runs.get(pk, "a record") for pk in self.runs},
            "identifier": {
                run["identifier"]: runs.get(pk, "a record") for pk, run in self.runs.items()
            },
            "Batch": {
                row["id"]: f"{lines[row['po_line_id']]} {row['receipt_id']} {row['quantity']}"
                for row in rows["Batch"]
            },
        }

    def _told(
        self,
        model: str,
        row: dict[str, Any],
        foreign: dict[str, Any],
        names: dict[str, dict[Any, str]],
    ) -> dict[str, Any] | None:
        told = {name: value for name, value in row.items() if name not in _TIMES | {"id"}}
        for column, related in foreign.items():
            if row[column] is not None:
                told[column] = names[related.__name__][row[column]]
        for column in ("first_run", "presence_run", "last_run"):
            if column in told:
                told[column] = names["IngestionRun"][row[column]]
        if "correlation_id" in told:
            told["correlation_id"] = names["identifier"].get(row["correlation_id"], "")
        own_run = names["IngestionRun"].get(row["id"]) if model == "IngestionRun" else None
        of = own_run or told.get("run_id") or told.get("correlation_id")
        is_record = model in _RECORDS or row.get("event_type") in _OF_RUNS
        if is_record and of == "a record":
            return None
        if model == "ReceiptSnapshot":
            del told["run_id"]
        if row.get("event_type") in _OF_RUNS:
            report = json.loads(row["data"])
            told["data"] = {n: v for n, v in report.items() if n not in {*_TIMES, "run_identifier"}}
        if model == "IngestionLease":
            told["token"] = bool(row["token"])
        return told

    def events(self, event_type: str) -> list[dict[str, Any]]:
        return [row for row in self.rows["AuditEvent"] if row["event_type"] == event_type]

    def lease_is_free(self) -> bool:
        return all(row["token"] is None for row in self.rows["IngestionLease"])


def differences(found: State, expected: State) -> list[str]:
    """The first rows that only one of both has."""
    told = []
    for name, rows in expected.items():
        told += [f"{name} too much: {row}" for row in list(found[name] - rows)[:3]]
        told += [f"{name} lacks: {row}" for row in list(rows - found[name])[:3]]
    return told


# --- a company before tonight's run ---------------------------------------------------------------


class Company:
    """Databases of one company: migrated only, before tonight's run, and after it undisturbed; with
    the ERP as it stood at the baseline and as it stands tonight."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.launcher = Launcher(folder)
        self.world = World(
            seed=52, lines=100, suppliers=5, start=START, habits=Habits.busy(), history=0.3
        )
        self.mapping = folder / "erp_mapping.toml"
        self.mapping.write_text(self.world.mapping_toml(receipts=True), encoding="utf-8")
        self.empty = folder / "empty.sqlite3"
        self.before = folder / "before.sqlite3"
        self.after_baseline = folder / "after_baseline.sqlite3"
        self.after = folder / "after.sqlite3"
        self.first_erp = folder / "first_erp.sqlite3"
        self.erp = folder / "erp.sqlite3"
        self._number = 0

    def prepare(self) -> None:
        """Baseline, three nights, and a change of the cross-reference."""
        answer = self.launcher.run(self._job(self.empty, ["migrate", "--verbosity=0"]))
        assert answer.exit_code == 0, answer.printed
        self._configure()
        self.world.write(self.first_erp)
        self.world.write(self.erp)
        self.after_baseline = self.copy(self.empty)
        self.baseline = self.run(self.after_baseline, as_of=str(START))
        assert self.baseline.exit_code == 0, self.baseline.printed
        self.before = self.copy(self.after_baseline)
        for _ in range(3):
            self._live()
            assert self.run(self.before).exit_code == 0
        self._change_xref()
        self._live()
        self.after = self.copy(self.before)
        self.undisturbed = self.run(self.after)
        assert self.undisturbed.exit_code == 0, self.undisturbed.printed

    def job(self, database: Path, *, as_of: str = "", **what: Any) -> Job:
        """Tonight's run, or the baseline's with its date."""
        as_of = as_of or self.world.today.isoformat()
        arguments = ["run_ingestion", "--json", f"--as-of={as_of}"]
        return replace(self._job(database, arguments), **what)

    def run(self, database: Path, **what: Any) -> Answer:
        return self.launcher.run(self.job(database, **what))

    def copy(self, database: Path) -> Path:
        """Of a database that nobody has open."""
        with closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._number += 1
        copy = self.folder / f"copy_{self._number}.sqlite3"
        shutil.copy(database, copy)
        return copy

    def _job(self, database: Path, arguments: list[str]) -> Job:
        first = f"--as-of={START}" in arguments
        return Job(
            arguments=arguments,
            database=str(database),
            erp=str(self.first_erp if first else self.erp),
            mapping=str(self.mapping),
            held=f"{database}.held",
        )

    def _live(self) -> None:
        self.world.live_one_night()
        self.world.save(self.erp)

    def _configure(self) -> None:
        with closing(sqlite3.connect(self.empty)) as connection, connection:
            connection.executemany(
                "INSERT INTO po_customcolumn (slot, label, source, erp_column, active)"
                " VALUES (?, ?, 'erp', ?, 1)",
                [(slot, *column) for slot, column in CUSTOM_COLUMNS.items()],
            )
            entries = self.world.xref_entries()
            connection.executemany(
                "INSERT INTO po_supplier (code, name) VALUES (?, '')",
                {(entry.supplier_code,) for entry in entries if entry.supplier_code},
            )
            self._insert_entries(connection, entries)

    def _change_xref(self) -> None:
        with closing(sqlite3.connect(self.before)) as connection, connection:
            connection.execute("DELETE FROM ingestion_xrefentry WHERE id % 5 = 0")
            self._insert_entries(connection, self.world.close_gaps(3))

    def _insert_entries(self, connection: sqlite3.Connection, entries: list[Any]) -> None:
        connection.executemany(
            "INSERT INTO ingestion_xrefentry (supplier_id, erp_item_code, sku, item, updated_at)"
            " VALUES ((SELECT id FROM po_supplier WHERE code = ?), ?, ?, ?, '2025-01-01 00:00:00')",
            entries,
        )


@pytest.fixture(scope="module")
def company(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    company = Company(tmp_path_factory.mktemp("company"))
    try:
        company.prepare()
        yield company
    finally:
        company.launcher.end()


# --- 5 crash-proof --------------------------------------------------------------------------------


def spread(points: list[str], count: int) -> list[int]:
    """So many points at even distances; the first of each stage, however short; before or after
    each COMMIT, in turn; before and after the last, which ends the apply. All, if thorough."""
    if THOROUGH:
        return list(range(len(points)))
    commits = [number for number, point in enumerate(points) if point.endswith("COMMIT")]
    in_turn = [number for place, number in enumerate(commits) if place % 4 in (0, 3)]
    evenly = [place * len(points) // count for place in range(count)]
    first_of_stage = {point.split(":")[0]: n for n, point in reversed(list(enumerate(points)))}
    return sorted({*evenly, *first_of_stage.values(), *in_turn, *commits[-2:]})


class TestKilled:
    def test_a_killed_night_run_again_ends_as_an_undisturbed_one(self, company: Company) -> None:
        points = company.undisturbed.points
        before, after = Database(company.before), Database(company.after)
        nights = len(before.applied)
        commit = max(n for n, point in enumerate(points) if point == "report: before COMMIT")
        chosen = spread(points, 50)
        assert len(chosen) >= 50
        assert {points[n].split(":")[0] for n in chosen} >= {"start", "apply", *pipeline.STAGES}
        for number in chosen:
            where = f"killed at point {number}, {points[number]}"
            database = company.copy(company.before)
            assert company.run(database, kill_at=number).exit_code == KILLED, where
            killed = Database(database)
            is_applied = number > commit
            assert killed.integrity == "ok", where
            assert len(killed.applied) == nights + is_applied, where
            expected = (after if is_applied else before).state(nights + is_applied)
            lacking = differences(killed.state(nights + is_applied), expected)
            # Until the next run the killed one still has the lease and its raw receipts.
            assert _but_for_records(lacking) == [], (where, lacking)

            again = company.run(database)
            assert again.exit_code == 0, (where, again.printed)
            found = Database(database)
            assert differences(found.state(nights + 1), after.state(nights + 1)) == [], where
            assert found.lease_is_free(), where
            self._is_told_as_abandoned(found, killed, where)

    def _is_told_as_abandoned(self, found: Database, killed: Database, where: str) -> None:
        assert not found.running, where
        failed_events = found.events("ingestion_failed")
        assert len(found.failed) == len(killed.running) == len(failed_events), where
        for run, event in zip(found.failed, failed_events, strict=True):
            (notice,) = json.loads(run["errors_encountered"])
            assert "stopped unexpectedly" in notice["message"], where
            assert notice["remedy"], where
            assert run["finished_at"] is not None, where
            assert event["correlation_id"] == run["identifier"], where
            assert json.loads(event["data"])["status"] == "failed", where
            left = [row for row in found.rows["ERPSnapshot"] if row["run_id"] == run["id"]]
            assert left == [], where

    def test_a_killed_baseline_leaves_the_next_run_a_baseline(self, company: Company) -> None:
        points = company.baseline.points
        after = Database(company.after_baseline)
        commit = max(n for n, point in enumerate(points) if point == "report: before COMMIT")
        chosen = [number for number in spread(points, 10) if number <= commit]
        assert chosen[-1] == commit
        for number in chosen if THOROUGH else chosen[::-2]:
            where = f"killed at point {number}, {points[number]}"
            database = company.copy(company.empty)
            killed = company.run(database, as_of=str(START), kill_at=number)
            assert killed.exit_code == KILLED, where
            assert Database(database).rows["POLine"] == [], where
            again = company.run(database, as_of=str(START))
            assert again.exit_code == 0, (where, again.printed)
            assert json.loads(again.printed)["mode"] == "baseline", where
            found = Database(database)
            assert differences(found.state(1), after.state(1)) == [], where
            assert len(found.events("ingestion_baseline")) == 1, where

    def test_killed_again_and_again_it_still_ends_as_an_undisturbed_run(
        self, company: Company
    ) -> None:
        points, after = company.undisturbed.points, Database(company.after)
        database = company.copy(company.before)
        for share in (0.9, 0.5, 0.2, 0.7):
            number = int(len(points) * share)
            assert company.run(database, kill_at=number).exit_code == KILLED
        assert company.run(database).exit_code == 0
        found = Database(database)
        nights = len(after.applied)
        assert differences(found.state(nights), after.state(nights)) == []
        assert len(found.failed) == len(found.events("ingestion_failed")) == 4

    def test_a_dead_process_that_nobody_has_waited_for_does_not_block_the_next_run(
        self, company: Company
    ) -> None:
        database = company.copy(company.before)
        middle = len(company.undisturbed.points) // 2
        assert company.run(database, kill_at=middle, reap=False).exit_code == KILLED
        again = company.run(database)
        assert again.exit_code == 0, again.printed


def _but_for_records(told: list[str]) -> list[str]:
    return [line for line in told if line.split()[0] not in ("IngestionLease", "ReceiptSnapshot")]


# --- 8 one at a time, and ends that were asked for ------------------------------------------------


class Child:
    """A run in a process of its own, from the start."""

    def __init__(self, company: Company, job: Job) -> None:
        self.started = time.monotonic()
        self.held = Path(job.held)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.launcher", json.dumps(asdict(job))],
            cwd=settings.BASE_DIR,
            env=environment(company.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_until_held(self) -> None:
        while not self.held.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < self.started + 30
            time.sleep(0.01)

    def let_go(self) -> None:
        self.held.unlink()

    def end(self) -> tuple[int, str]:
        """Exit code and what was printed."""
        printed, errors = self.process.communicate(timeout=30)
        return self.process.returncode, printed or errors


class TestTogether:
    @pytest.mark.parametrize("stage", ["snapshot", "batches"])
    def test_a_second_run_is_refused_within_five_seconds_also_during_an_apply(
        self, company: Company, stage: str
    ) -> None:
        database = company.copy(company.before)
        job = company.job(database, hold_in=stage)
        first = Child(company, job)
        first.wait_until_held()
        second = Child(company, replace(job, hold_in=""))
        exit_code, printed = second.end()
        assert time.monotonic() - second.started < 5
        assert exit_code == 4
        refusal = json.loads(printed)
        assert sorted(refusal) == ["error", "status"]
        assert "run" in refusal["error"]
        first.let_go()
        assert first.end()[0] == 0
        found, after = Database(database), Database(company.after)
        nights = len(after.applied)
        assert len(found.runs) == len(after.runs)
        assert differences(found.state(nights), after.state(nights)) == []

    def test_of_runs_started_together_exactly_one_runs(self, company: Company) -> None:
        database = company.copy(company.before)
        jobs = [company.job(database, hold_in="diff", held=f"{database}.held{n}") for n in range(3)]
        children = [Child(company, job) for job in jobs]
        ended: list[Child] = []
        while len(ended) < 2:
            assert time.monotonic() < children[0].started + 30
            ended = [child for child in children if child.process.poll() is not None]
            time.sleep(0.01)
        (winner,) = [child for child in children if child not in ended]
        assert [child.end()[0] for child in ended] == [4, 4]
        winner.wait_until_held()
        winner.let_go()
        assert winner.end()[0] == 0
        found, after = Database(database), Database(company.after)
        nights = len(after.applied)
        assert differences(found.state(nights), after.state(nights)) == []
        assert len(found.runs) == len(after.runs)


class TestAskedToStop:
    @pytest.mark.parametrize(
        ("stage", "by"),
        [
            ("snapshot", signal.SIGTERM),
            ("apply", signal.SIGTERM),
            ("xref", signal.SIGTERM),
            ("batches", signal.SIGINT),
            ("report", signal.SIGTERM),
        ],
    )
    def test_it_ends_failed_and_clean_and_the_next_run_is_fine(
        self, company: Company, stage: str, by: signal.Signals
    ) -> None:
        database = company.copy(company.before)
        child = Child(company, company.job(database, hold_in=stage))
        child.wait_until_held()
        child.process.send_signal(by)
        child.let_go()
        exit_code, printed = child.end()
        assert exit_code == 1
        report = json.loads(printed)
        assert report["status"] == "failed"
        assert "asked to stop" in report["errors_encountered"][0]["message"]

        stopped, before = Database(database), Database(company.before)
        nights = len(before.applied)
        (run,) = stopped.failed
        (event,) = stopped.events("ingestion_failed")
        assert event["correlation_id"] == run["identifier"]
        assert stopped.lease_is_free()
        lacking = differences(stopped.state(nights), before.state(nights))
        assert _but_for_records(lacking) == []
        log = (company.folder / "log" / "ingestion.log").read_text(encoding="utf-8")
        told = [json.loads(line) for line in log.splitlines() if run["identifier"][:8] in line]
        assert any(line["message"].startswith("Ingestion failed") for line in told)

        assert company.run(database).exit_code == 0
        found, after = Database(database), Database(company.after)
        assert differences(found.state(nights + 1), after.state(nights + 1)) == []
