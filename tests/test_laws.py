"""The laws of design.md, held over random nights of the simulated ERP.

The first test compares everything that is stored and reported, night by night, with what
tests/faithful.py says; the others hold one law each, straight from the tables and the world.
Law 5, and law 8 with real processes, are in test_crash.py. HYPOTHESIS_PROFILE=thorough does more.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django.utils import timezone
from hypothesis import Phase, given, settings

from apps.accounts.models import Role
from apps.audit.models import AuditEvent, ERPChangeEvent
from apps.batches.models import Batch
from apps.demo.habits import Habits
from apps.demo.ledger import Key
from apps.demo.world import World
from apps.ingestion import pipeline
from apps.ingestion.context import RunOptions
from apps.ingestion.errors import RunActiveError, UsageError
from apps.ingestion.lease import Lease
from apps.ingestion.models import ERPSnapshot, IngestionLease, IngestionRun
from apps.ingestion.report import Report
from apps.po.models import (
    APPLICATION_OWNED_FIELDS,
    CUSTOM_SLOTS,
    ERP_OWNED_FIELDS,
    POLine,
    Presence,
    StatusChange,
    Supplier,
)
from tests.erp import use_erp
from tests.factories import UserFactory
from tests.faithful import text_of
from tests.nights import (
    START,
    Act,
    History,
    Night,
    Ran,
    Rows,
    Setup,
    added,
    content_of,
    dump,
    histories,
    lived,
)

pytestmark = pytest.mark.django_db

# Shrinking a history of nights takes minutes: worth it for who asks for it, not in CI.
_shrinks = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
_phases = [phase for phase in Phase if _shrinks or phase != Phase.shrink]
assert settings.default is not None
_all = settings(phases=_phases)
# One law needs fewer nights than all of them together.
_some = settings(phases=_phases, max_examples=settings.default.max_examples // 5)


@_all
@given(history=histories())
def test_after_any_night_the_application_knows_what_the_erp_says_and_tells_what_happened(
    history: History,
) -> None:
    with lived(history):
        pass


def test_within_a_month_everything_happens_that_can_happen() -> None:
    # Otherwise the laws would hold over nothing.
    acts = [((Act.CANCEL, n), (Act.CLOSE_GAP, n), (Act.OVER_ERP, n)) for n in range(24)]
    nights = [Night(acts=some) for some in acts]
    nights[5] = nights[15] = Night(acts=((Act.REMOVE_ENTRY, 3),))
    busy = ("reuse", "move", "vanish", "change_closed", "redate", "reopen", "change_item")
    for receipts, kinds in (
        (False, {"opening", "between_runs", "correction"}),
        (True, {"exact", "correction", "unexplained"}),
    ):
        setup = Setup(receipts=receipts, lookback_days=60)
        history = History(3, 90, busy, setup, tuple(nights))
        with lived(history) as company:
            assert set(AuditEvent.objects.values_list("event_type", flat=True)) == {
                "ingestion_baseline",
                "ingestion_completed",
                "po_line_created",
                "po_line_returned",
                "po_line_left",
                "ingestion_change",
                "xref_gap",
                "xref_applied",
                "supplier_renamed",
            }
            assert set(POLine.objects.values_list("presence", flat=True)) == set(Presence)
            assert set(Batch.objects.values_list("kind", flat=True)) == kinds
            assert Batch.objects.filter(over_delivery=True).exists()
            gaps = AuditEvent.objects.filter(event_type="xref_gap").values_list("data", flat=True)
            opened = Counter((gap["supplier"], gap["item_code"]) for gap in gaps)
            assert {1, 2} <= set(opened.values())
            assert len(set(POLine.objects.values_list("status", flat=True))) == 7
            fields = set(ERPChangeEvent.objects.values_list("field", flat=True))
            # These three change with the order only.
            constant = {"po_insert_date", "final_customer", "erp_sku"}
            assert fields >= {*ERP_OWNED_FIELDS, "custom_text_1"} - constant
            outcomes = [ran.outcome for ran in company.runs]
            assert any(touch.redated for o in outcomes for touch in o.touched.values()) == receipts
            assert sum(bool(outcome.rejected) for outcome in outcomes) > 5


# --- 1 ------------------------------------------------------------------------------------------


@_some
@given(history=histories(quiet=True))
def test_replay_first_values_and_changes_in_order_give_the_present_values(history: History) -> None:
    with lived(history):
        snapshots: dict[tuple[str, str], list[ERPSnapshot]] = defaultdict(list)
        for snapshot in ERPSnapshot.objects.order_by("run"):
            snapshots[snapshot.po_number, snapshot.line_number].append(snapshot)
        successors = {
            (line.po_number, line.line_number, line.generation - 1): line.first_run
            for line in POLine.objects.all()
        }
        for line in POLine.objects.select_related("supplier"):
            key = line.po_number, line.line_number
            ends = successors.get((*key, line.generation), float("inf"))
            own = [s for s in snapshots[key] if line.first_run <= s.run_id < ends]
            replayed: dict[str, str | None] = json.loads(own[0].values)
            for change in line.erp_changes.order_by("pk"):
                # A custom value that could not be read at first became known without an event.
                assert replayed.get(change.field, change.previous_value) == change.previous_value
                replayed[change.field] = change.new_value
            last = {**replayed, **json.loads(own[-1].values)}
            last["supplier_name"] = replayed["supplier_name"]  # it belongs to the supplier
            assert replayed == last
            stored = {name: text_of(getattr(line, name)) for name in ERP_OWNED_FIELDS[1:]}
            stored["supplier_code"] = line.supplier.code
            assert stored == {name: replayed[name] for name in ERP_OWNED_FIELDS}
            for slot in set(CUSTOM_SLOTS) & replayed.keys():
                if line.custom_sources.get(slot) != "user":
                    assert text_of(getattr(line, slot)) == replayed[slot]


# --- 2 ------------------------------------------------------------------------------------------


@_some
@given(history=histories(quiet=True))
def test_batches_add_up_to_what_the_erp_says_and_each_receipt_is_told_once(
    history: History,
) -> None:
    with lived(history) as company:
        sums: dict[int, Decimal] = defaultdict(Decimal)
        by_receipt: dict[tuple[int, str], Decimal] = defaultdict(Decimal)
        told_first: Counter[tuple[int, str]] = Counter()
        for batch in Batch.objects.all():
            sums[batch.po_line_id] += batch.quantity
            by_receipt[batch.po_line_id, batch.receipt_id] += batch.quantity
            told_first[batch.po_line_id, batch.receipt_id] += batch.kind == "exact"
        lines = {(line.po_number, line.line_number): line for line in POLine.objects.current()}
        for line in POLine.objects.all():
            assert sums[line.pk] == line.batched_quantity == line.delivered_quantity
        seen = company.runs[-1].outcome.looked_at
        for truth in company.world.truth.lines():
            if truth.key not in seen:
                continue
            line = lines[truth.key]
            assert sums[line.pk] == truth.values["delivered_quantity"]
            if history.setup.receipts:
                of_line = {
                    receipt_id: quantity
                    for (pk, receipt_id), quantity in by_receipt.items()
                    if pk == line.pk and quantity
                }
                assert of_line.pop("", Decimal(0)) == truth.unexplained
                assert of_line == {r.receipt_id: r.quantity for r in truth.receipts}
                for receipt in truth.receipts:
                    assert told_first[line.pk, receipt.receipt_id] == 1


# --- 3 ------------------------------------------------------------------------------------------

# What ingestion notes for itself.
_MARKS = frozenset(
    {"last_run", "row_hash", "custom_hash", "presence_run", "previous_presence", "presence_since"}
)
_DERIVED = frozenset({"sku", "item", "unmapped"})
_LINE_EVENTS = ("po_line_created", "po_line_returned", "po_line_left", "ingestion_change")


@_some
@given(history=histories(quiet=True))
def test_each_touched_line_has_one_line_event_and_the_counters_are_row_counts(
    history: History,
) -> None:
    def watch(before: dict[str, Rows], after: dict[str, Rows], report: Report) -> None:
        if report.mode == "baseline" or report.status == "failed":
            return
        written = added(before, after)
        touched, derived = set(), set()
        for line in written.get("POLine", []):
            old = before["POLine"].get(line["id"], {})
            differs = {name for name in line.keys() - _MARKS if line[name] != old.get(name)}
            moved = line["presence"], old.get("presence")
            if differs - _DERIVED and sorted(map(str, moved)) != ["aged_out", "present"]:
                touched.add(line["id"])
            if old and differs & _DERIVED:
                derived.add(line["id"])
        changes = written.get("ERPChangeEvent", [])
        batches = written.get("Batch", [])
        for name in ("ERPChangeEvent", "Batch", "StatusChange"):
            touched |= {row["po_line_id"] for row in written.get(name, [])}
        batch_lines = {pk: row["po_line_id"] for pk, row in after["Batch"].items()}
        touched |= {batch_lines[row["batch_id"]] for row in written.get("ReceiptDateNote", [])}
        events = Counter(row["event_type"] for row in written["AuditEvent"])
        lines = Counter(
            row["po_line_id"] for row in written["AuditEvent"] if row["event_type"] in _LINE_EVENTS
        )
        applied = Counter(
            row["po_line_id"]
            for row in written["AuditEvent"]
            if row["event_type"] == "xref_applied"
        )
        assert lines == Counter(touched)
        assert applied == Counter(derived)
        assert events["ingestion_completed"] == 1
        assert report.new_lines_created == events["po_line_created"]
        assert report.lines_returned == events["po_line_returned"]
        assert report.lines_left == events["po_line_left"]
        assert report.lines_changed == events["ingestion_change"]
        assert report.change_events_detected == len(changes)
        assert report.batches_reconstructed == len(batches)
        assert report.rejected_rows == len(written.get("RejectedRow", []))

    with lived(history, watch):
        pass


# --- 4 ------------------------------------------------------------------------------------------


@_some
@given(history=histories(quiet=True))
def test_the_same_night_run_again_changes_nothing_and_tells_nothing_but_itself(
    history: History,
) -> None:
    again = tuple(replace(night, again=True) for night in history.nights)
    with lived(replace(history, nights=again)) as company:
        repeated = [ran for ran in company.runs if ran.outcome.is_nothing]
        assert len(repeated) >= len(again)


# --- 6 ------------------------------------------------------------------------------------------


@_some
@given(history=histories())
def test_no_run_changes_what_people_entered(history: History) -> None:
    def watch(before: dict[str, Rows], after: dict[str, Rows], report: Report) -> None:
        for pk, old in before["POLine"].items():
            new = after["POLine"][pk]
            by_people = [*APPLICATION_OWNED_FIELDS]
            by_people += [s for s, source in old["custom_sources"].items() if source == "user"]
            assert {n: new[n] for n in by_people} == {n: old[n] for n in by_people}
            for slot in CUSTOM_SLOTS:
                assert (old["custom_sources"].get(slot) == "user") == (
                    new["custom_sources"].get(slot) == "user"
                )
        for name in ("XrefEntry", "CustomColumn"):
            assert after[name] == before[name]

    people = ((Act.MILESTONE, 1), (Act.READY, 2), (Act.OVER_ERP, 3), (Act.OWN_COLUMN, 4))
    nights = [replace(n, acts=people + n.acts, during=False) for n in history.nights]
    with lived(replace(history, nights=tuple(nights)), watch):
        assert POLine.objects.exclude(last_expeditor_update=None).exists()


# --- 7 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("receipts", [False, True])
def test_no_run_changes_a_byte_of_the_erp(tmp_path: Path, receipts: bool) -> None:
    world = World(seed=7, lines=60, suppliers=5, start=START, habits=Habits.busy())
    erp = tmp_path / "erp.sqlite3"
    world.write(erp)
    mapping = world.mapping_toml(receipts=receipts)
    statuses = set()
    for night in range(6):
        before = content_of(tmp_path), erp.stat().st_mtime_ns
        # The fourth night fails half-way, in the ERP's own tables.
        text = mapping.replace('"QTY_ORD"', '"ABS(1)"') if night == 3 else mapping
        with use_erp(erp, text):
            statuses.add(pipeline.run(options=RunOptions(as_of=world.today)).status)
        assert (content_of(tmp_path), erp.stat().st_mtime_ns) == before
        world.live_one_night()
        world.save(erp)
    assert "failed" in statuses
    with closing(sqlite3.connect(erp)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# --- 8 ------------------------------------------------------------------------------------------


@pytest.fixture
def quiet_erp(tmp_path: Path) -> tuple[World, Path]:
    world = World(seed=8, lines=40, suppliers=4, start=START)
    world.write(tmp_path / "erp.sqlite3")
    return world, tmp_path / "erp.sqlite3"


def test_while_a_live_process_holds_the_lease_no_other_run_begins(
    quiet_erp: tuple[World, Path],
) -> None:
    world, erp = quiet_erp
    lease = Lease.acquire()
    before = dump()
    with use_erp(erp, world.mapping_toml()):
        with pytest.raises(RunActiveError):
            pipeline.run(options=RunOptions(as_of=world.today))
        assert added(before, dump()) == {}
        lease.release()
        assert pipeline.run(options=RunOptions(as_of=world.today)).status == "success"


def test_a_run_whose_lease_was_taken_over_cannot_commit(
    quiet_erp: tuple[World, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, erp = quiet_erp
    real = Lease.release

    def taken_over(lease: Lease) -> None:
        IngestionLease.objects.update(
            token=uuid.uuid4(), expires_at=timezone.now() + timedelta(hours=1)
        )
        real(lease)

    with use_erp(erp, world.mapping_toml()):
        monkeypatch.setattr(Lease, "release", taken_over)
        report = pipeline.run(options=RunOptions(as_of=world.today))
        monkeypatch.undo()
        assert report.status == "failed"
        assert not POLine.objects.exists()
        assert not AuditEvent.objects.exclude(event_type="ingestion_failed").exists()
        report = pipeline.run(options=RunOptions(as_of=world.today))
    assert (report.mode, report.status) == ("baseline", "success")


def test_a_refused_call_writes_no_run_and_no_event(quiet_erp: tuple[World, Path]) -> None:
    world, erp = quiet_erp
    with use_erp(erp, world.mapping_toml()):
        pipeline.run(options=RunOptions(as_of=world.today))
        before = dump()
        for options in (
            RunOptions(baseline=True),
            RunOptions(as_of=world.today - timedelta(days=1)),
            RunOptions(as_of=timezone.now().date() + timedelta(days=2)),
        ):
            with pytest.raises(UsageError):
                pipeline.run(options=options)
        assert added(before, dump()) == {}


# --- 9 ------------------------------------------------------------------------------------------


@_some
@given(history=histories(quiet=True))
def test_what_happened_to_a_line_stays_with_the_supplier_of_its_time(history: History) -> None:
    moving = replace(history, often=("move", "slip", "receipt", "change_custom", "reuse"))
    with lived(moving) as company:
        owners = _owners(company.runs)
        number_of = {ran.run_id: number for number, ran in enumerate(company.runs)}
        by_identifier = {
            identifier: number_of[pk]
            for pk, identifier in IngestionRun.objects.values_list("pk", "identifier")
            if pk in number_of
        }
        seen: Counter[str] = Counter()
        for supplier in Supplier.objects.all():
            expeditor = UserFactory.create(role=Role.EXPEDITOR, suppliers=[supplier])
            changes = ERPChangeEvent.objects.for_user(expeditor).select_related("po_line")
            batches = Batch.objects.for_user(expeditor).select_related("po_line")
            events = AuditEvent.objects.for_user(expeditor).select_related("po_line")
            moves = StatusChange.objects.for_user(expeditor).select_related("po_line")
            visible = [(number_of[change.run_id], change.po_line) for change in changes]
            visible += [(number_of[batch.run_id], batch.po_line) for batch in batches]
            visible += [
                (by_identifier[event.correlation_id], event.po_line)
                for event in events
                if event.po_line is not None
            ]
            visible += [
                (by_identifier[move.correlation_id], move.po_line)
                for move in moves
                if move.correlation_id in by_identifier
            ]
            for number, line in visible:
                assert supplier.code in owners[_ident(line)][number]
            seen.update(
                changes=len(changes), batches=len(batches), events=len(events), moves=len(moves)
            )
            own_lines = POLine.objects.filter(supplier=supplier)
            assert set(POLine.objects.for_user(expeditor)) == set(own_lines)
        # Nor is anything lost: what one supplier's expeditor does not see, another's does.
        of_runs = ("ingestion_baseline", "ingestion_completed", "ingestion_failed")
        assert seen == {
            "changes": ERPChangeEvent.objects.count(),
            "batches": Batch.objects.count(),
            "events": AuditEvent.objects.exclude(event_type__in=of_runs).count(),
            "moves": StatusChange.objects.count(),
        }


def _ident(line: POLine) -> tuple[str, str, int]:
    return line.po_number, line.line_number, line.generation


def _owners(runs: list[Ran]) -> dict[tuple[str, str, int], list[tuple[str, str]]]:
    """Whose each line was before and after each run, as the world tells it."""
    owners: dict[tuple[str, str, int], list[tuple[str, str]]] = {}
    orders: dict[Key, list[int]] = defaultdict(
        list
    )  # the world's generations, in the order of ours
    for number, ran in enumerate(runs):
        for truth in ran.tonight.lines:
            if truth.key not in ran.outcome.looked_at:
                continue
            seen = orders[truth.key]
            if truth.generation not in seen:
                seen.append(truth.generation)
            own = owners.setdefault((*truth.key, len(seen)), [])
            code = str(truth.values["supplier_code"])
            before = own[-1][1] if own else code
            # On nights without a sight of it, the line was whose it was.
            own += [(before, before)] * (number - len(own)) + [(before, code)]
    for own in owners.values():
        own += [(own[-1][1], own[-1][1])] * (len(runs) - len(own))
    return owners
