"""Nights of a simulated company, drawn by hypothesis: what its ERP and its people do, what goes
wrong, and what must be so in the application after each run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tomllib
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from django.apps import apps
from django.db import models, transaction
from hypothesis import strategies as st

from apps.audit.models import AuditEvent, ERPChangeEvent
from apps.batches.models import Batch as StoredBatch
from apps.batches.models import ReceiptDateNote
from apps.core.clock import start_of_business_day
from apps.demo.books import SETTLING_NIGHTS
from apps.demo.habits import FAULT_RATES, NIGHTLY_RATES, Habits
from apps.demo.ledger import FINAL_CODES, Key, Value
from apps.demo.sqlite_erp import CUSTOM_COLUMNS
from apps.demo.truth import LineTruth
from apps.demo.world import World
from apps.ingestion import custom_columns, pipeline
from apps.ingestion.context import NoProgress, RunContext, RunOptions, StageResult
from apps.ingestion.erp.reader import ErpReader
from apps.ingestion.errors import LeaseLostError, TransientErpError
from apps.ingestion.lease import Lease
from apps.ingestion.models import (
    ERPReceipt,
    ERPSnapshot,
    IngestionLease,
    IngestionRun,
    ReceiptSnapshot,
    RejectedRow,
    XrefEntry,
    XrefGap,
)
from apps.ingestion.report import Report
from apps.po.lifecycle import FINAL, Status
from apps.po.models import (
    APPLICATION_OWNED_FIELDS,
    CUSTOM_SLOTS,
    CustomColumn,
    POLine,
    Presence,
    StatusChange,
    Supplier,
)
from tests.chunks import chunks_of
from tests.erp import use_erp
from tests.faithful import (
    ACTIVE,
    OURS,
    Batch,
    Change,
    Faithful,
    Ident,
    Line,
    Outcome,
    Reading,
    Tonight,
)

START = date(2025, 1, 6)

# --- what is read ---------------------------------------------------------------------------------

_MAPPING = tomllib.loads(World(seed=0, lines=1).mapping_toml(receipts=True))
_COLUMNS: dict[str, str] = _MAPPING["lines"]["columns"] | {
    slot.removesuffix("_1"): column for slot, (_, column) in CUSTOM_COLUMNS.items()
}
_MEANINGS: dict[str, str] = _MAPPING["lines"]["status_map"]
_EVERYTHING = {name: name for name in _MAPPING["lines"]["columns"]}
_OPTIONAL = ("in_date", "item", "final_customer", "supplier_name", "sku", "updated_at")
_ELSEWHERE = {"final_customer": "supplier_name", "in_date": "po_insert_date", "item": "item_code"}
_CUSTOM = {slot: slot.removesuffix("_1") for slot in CUSTOM_COLUMNS}
_SLOTS: dict[str, dict[str, str]] = {
    "as meant": _CUSTOM,
    "none": {},
    "one": {"custom_date_1": "custom_date"},
    "elsewhere": {
        "custom_date_1": "promised_date",
        "custom_text_1": "final_customer",
        "custom_text_2": "custom_text",
        "custom_decimal_1": "custom_decimal",
    },
}
_MAPS: dict[str, dict[str, str]] = {
    "shipped": _MEANINGS,
    "knows H": _MEANINGS | {"H": "in_production"},
    "other": _MEANINGS | {"25": "ready_to_dispatch", "15": "in_production"},
    "lacks 20": {code: meaning for code, meaning in _MEANINGS.items() if code != "20"},
}


@dataclass(frozen=True)
class Setup:
    """How the application is configured: by mapping and custom columns."""

    dropped: tuple[str, ...] = ()  # optional fields that are not mapped
    elsewhere: str = ""  # a field that is read from another column
    status_map: str = "shipped"
    receipts: bool = False
    recheck_days: int = 60
    lookback_days: int = 730
    slots: str = "as meant"

    @property
    def reading(self) -> Reading:
        sources = {name: source for name, source in _EVERYTHING.items() if name not in self.dropped}
        if self.elsewhere in sources:
            sources[self.elsewhere] = _ELSEWHERE[self.elsewhere]
        return Reading(
            sources=sources,
            meanings=_MAPS[self.status_map],
            receipts=self.receipts,
            recheck_days=self.recheck_days,
            lookback_days=self.lookback_days,
            slots=_SLOTS[self.slots],
        )


_lookback_days = st.sampled_from([730, 730, 60])
setups = st.builds(
    Setup,
    dropped=st.lists(st.sampled_from(_OPTIONAL), max_size=2, unique=True).map(tuple),
    elsewhere=st.sampled_from(["", *_ELSEWHERE]),
    status_map=st.sampled_from(sorted(_MAPS)),
    receipts=st.booleans(),
    recheck_days=st.sampled_from([60, 60, 4]),
    lookback_days=_lookback_days,
    slots=st.sampled_from(sorted(_SLOTS)),
)


def mapping_toml(reading: Reading) -> str:
    """The mapping file that reads this."""
    columns = {name: _COLUMNS[source] for name, source in reading.sources.items()}
    active = _MAPPING["lines"]["active"] | {
        "recheck_days": reading.recheck_days,
        "lookback_days": reading.lookback_days,
    }
    tables = {
        "lines": {"table": _MAPPING["lines"]["table"]},
        "lines.columns": columns,
        "lines.active": active,
        "lines.status_map": reading.meanings,
        "values": _MAPPING["values"],
    }
    if reading.receipts:
        tables["deliveries"] = {"table": _MAPPING["deliveries"]["table"]}
        tables["deliveries.columns"] = _MAPPING["deliveries"]["columns"]
    # What these tables hold is written in JSON as in TOML.
    return "\n".join(
        "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())])
        for name, table in tables.items()
    )


# --- what happens ---------------------------------------------------------------------------------


class Act(StrEnum):
    """What people do between two runs, each to a line or an entry that a number picks."""

    MILESTONE = "records a milestone"
    READY = "adds a ready quantity"
    OWN_COLUMN = "fills a column of their own"
    OVER_ERP = "writes over a value of the ERP"
    CANCEL = "cancels a line"
    PRODUCE = "moves a line forward"
    IMPORT_XREF = "imports the whole cross-reference"
    CLOSE_GAP = "maps a code for any supplier"
    REMOVE_ENTRY = "removes an entry of the cross-reference"


class Trouble(StrEnum):
    """What goes wrong in a run."""

    MAPPING = "the mapping names a column that is not there"
    EMPTY = "the ERP shows no line"
    SHRUNK = "the ERP shows far fewer lines"
    LINK = "the link to the ERP breaks while rows are read"
    STAGE = "a stage fails after its work"
    LEASE = "the lease is lost at the last moment"
    CUSTOM = "the custom columns fail after their work"
    MISSED = "the extract misses some rows"
    RECEIPTS = "some receipts cannot be read, others stand twice"


Acts = tuple[tuple[Act, int], ...]


@dataclass(frozen=True)
class Night:
    """What happens up to one run, and in it. Of each trouble the number says how much or where."""

    lived: int = 1
    acts: Acts = ()
    setup: Setup | None = None  # None: as before
    trouble: Trouble | None = None
    number: int = 0
    again: bool = False
    during: bool = False  # people act while the run goes on, before it applies what it read


@dataclass(frozen=True)
class History:
    """A company and its nights, after the one of the baseline."""

    seed: int
    lines: int
    often: tuple[str, ...]  # what happens all the time, by the names in Habits; else all at times
    setup: Setup
    nights: tuple[Night, ...]
    chunk: int = 1_000

    @property
    def habits(self) -> Habits:
        rates = {name: 0.03 if name in FAULT_RATES else 0.2 for name in self.often}
        return replace(Habits.busy(), **rates, max_leaving=0.1 + 0.1 * bool(rates))


_acts = st.lists(st.tuples(st.sampled_from(Act), st.integers(0, 99)), max_size=4).map(tuple)
_often = st.lists(st.sampled_from(NIGHTLY_RATES + FAULT_RATES), max_size=6, unique=True).map(tuple)


@st.composite
def _quiet_nights(draw: st.DrawFn) -> Night:
    return Night(acts=draw(_acts))


@st.composite
def _any_nights(draw: st.DrawFn) -> Night:
    return Night(
        lived=draw(st.sampled_from([1, 1, 1, 2, 3])),
        acts=draw(_acts),
        setup=draw(st.one_of(st.none(), st.none(), setups)),
        trouble=draw(st.one_of(st.none(), st.sampled_from(Trouble))),
        number=draw(st.integers(0, 9)),
        again=draw(st.booleans()),
        during=draw(st.booleans()),
    )


_quiet_setups = st.builds(Setup, receipts=st.booleans(), lookback_days=_lookback_days)


@st.composite
def histories(draw: st.DrawFn, *, quiet: bool = False) -> History:
    """Companies with up to eight nights. Quiet ones keep their setup and meet no trouble."""
    return History(
        seed=draw(st.integers(0, 2**32 - 1)),
        lines=draw(st.integers(30, 90)),
        often=draw(_often),
        setup=draw(_quiet_setups if quiet else setups),
        nights=tuple(
            draw(st.lists(_quiet_nights() if quiet else _any_nights(), min_size=1, max_size=8))
        ),
        chunk=draw(st.sampled_from([1_000, 7])),
    )


# --- how it is lived ------------------------------------------------------------------------------


Rows = dict[Any, dict[str, Any]]
# Sees all tables before and after each run, and its report.
Watch = Callable[[dict[str, Rows], dict[str, Rows], Report], None]


class Company:
    """A simulated ERP, the application under test, and what the application must know."""

    def __init__(self, history: History, folder: Path, watch: Watch | None = None) -> None:
        self.history = history
        self.watch = watch
        self.erp = folder / "erp.sqlite3"
        self.world = World(
            seed=history.seed, lines=history.lines, suppliers=6, start=START, habits=history.habits
        )
        self.world.write(self.erp)
        self.reading = history.setup.reading
        self.faithful = Faithful()
        self.written: Counter[str] = Counter()
        self.runs: list[Ran] = []
        self._configure()

    def spend(self, night: Night) -> None:
        """Lives up to the night's run, runs it, and checks all that must be so then."""
        if self.runs:
            for _ in range(night.lived):
                self.world.live_one_night()
            self.world.save(self.erp)
        during = night.acts if night.during and night.trouble not in _FAILING else ()
        if not during:
            self._act(night.acts)
        before = self.reading
        if night.setup is not None:
            self.reading = night.setup.reading
            self._configure()
        tonight = Tonight(run_date=self.world.today, lines=self._lines(), reading=self.reading)
        if night.trouble == Trouble.MISSED:
            tonight = replace(tonight, missed=self._some_keys(tonight, night.number))
        if night.trouble == Trouble.CUSTOM and self.reading.slots == before.slots != {}:
            tonight = replace(tonight, custom_fails=True)
        if night.trouble == Trouble.RECEIPTS:
            ids = sorted(r.receipt_id for truth in tonight.lines for r in truth.receipts)
            broken = frozenset(ids[night.number :: max(len(ids) // 3, 30)])
            twins = frozenset(ids[night.number + 10 :: 30])
            tonight = replace(tonight, broken_receipts=broken, twin_receipts=twins)
        if self._fails(night, tonight) and night.number % 2:
            return  # nobody ran it again
        self._run(tonight, during)
        if night.again:
            self._run_again(replace(tonight, custom_fails=False))

    def _lines(self) -> list[LineTruth]:
        """The truth, with the lookback of tonight's mapping instead of the shipped one."""
        lines = []
        oldest = self.world.today - timedelta(days=self.reading.lookback_days)
        for truth in self.world.truth.lines():
            inserted, ordered = truth.values["po_insert_date"], truth.values["ordered_quantity"]
            delivered = truth.values["delivered_quantity"]
            assert isinstance(inserted, date)
            assert isinstance(ordered, Decimal)
            assert isinstance(delivered, Decimal)
            if truth.presence in ACTIVE:
                aged = inserted < oldest and delivered >= ordered
                truth = replace(truth, presence="aged_out" if aged else "present")
            lines.append(truth)
        return lines

    # Runs

    def _fails(self, night: Night, tonight: Tonight) -> bool:
        """Whether the night's trouble failed the run; if so, it must have changed nothing."""
        if night.trouble not in _FAILING:
            return False
        before = dump()
        trouble = Going(night)
        if night.trouble == Trouble.SHRUNK and not self.faithful.lines:
            return False  # a baseline compares with nothing
        report = self._ingest(tonight, trouble)
        if report.status != "failed":
            assert night.trouble == Trouble.LINK
            self._accept(tonight, report, attempts=trouble.broken + 1)
            return False
        assert report.errors_encountered
        assert all(entry["remedy"] for entry in report.errors_encountered)
        written = added(before, dump())
        for name in ("ERPSnapshot", "ReceiptSnapshot", "RejectedRow", "FieldSet", "IngestionLease"):
            written.pop(name, None)
        assert sorted(written) == ["AuditEvent", "IngestionRun"], written.keys()
        (event,) = written["AuditEvent"]
        assert event["event_type"] == "ingestion_failed"
        assert len(written["IngestionRun"]) == 1
        self.written["AuditEvent"] += 1
        return True

    def _run(self, tonight: Tonight, during: Acts) -> None:
        if refuses := self.faithful.refuses(tonight):
            before = dump()
            refused = self._ingest(tonight, None)
            assert refused.status == "failed"
            assert not {"POLine", "ERPChangeEvent", "Batch"} & added(before, dump()).keys()
            self.written["AuditEvent"] += 1
        report = self._ingest(tonight, None, accept_drop=refuses, during=during)
        self._accept(tonight, report)

    def _run_again(self, tonight: Tonight) -> None:
        """Nothing twice: a run over the same ERP with the same date writes only its own record."""
        before = dump()
        report = self._ingest(tonight, None)
        outcome = self._accept(tonight, report)
        if self.runs[-2].tonight != tonight:
            return  # this run makes up for what went wrong in the one before
        assert outcome.is_nothing
        written = added(before, dump())
        for name in ("ERPSnapshot", "ReceiptSnapshot", "RejectedRow"):
            written.pop(name, None)
        for gap in written.pop("XrefGap", ()):
            assert gap.pop("last_seen") > gap["first_seen"]
        assert sorted(written) == ["AuditEvent", "IngestionRun"], written
        (event,) = written["AuditEvent"]
        assert event["event_type"] == "ingestion_completed"

    def _ingest(
        self,
        tonight: Tonight,
        trouble: Going | None,
        *,
        accept_drop: bool = False,
        during: Acts = (),
    ) -> Report:
        erp = self.erp
        text = mapping_toml(self.reading)
        with ExitStack() as stack:
            stack.enter_context(chunks_of(self.history.chunk))
            folder = Path(stack.enter_context(TemporaryDirectory()))
            if trouble is not None:
                erp, text = trouble.spoil(erp, text, folder)
                stack.enter_context(trouble.patched())
            if tonight.broken_receipts or tonight.twin_receipts:
                erp = _with_broken_receipts(erp, folder, tonight)
            if tonight.missed:
                stack.enter_context(_missing(tonight.missed))
            if tonight.custom_fails:
                stack.enter_context(_failing_after(custom_columns.STAGE))
            stack.enter_context(use_erp(erp, text))
            before = dump() if self.watch else {}
            content = content_of(erp.parent)
            report = pipeline.run(
                options=RunOptions(as_of=tonight.run_date, accept_drop=accept_drop),
                progress=Watcher(lambda: self._act(during)),
            )
            assert content_of(erp.parent) == content, "the run changed the ERP"
        assert IngestionLease.objects.get().token is None
        if self.watch:
            self.watch(before, dump(), report)
        return report

    # People

    def _act(self, acts: Acts) -> None:
        for act, number in acts:
            self._act_once(act, number)

    def _act_once(self, act: Act, number: int) -> None:
        lines = [line for _, line in sorted(self.faithful.lines.items())]
        if act in _ACTS_ON_LINES:
            if lines:
                _ACTS_ON_LINES[act](lines[number % len(lines)], number)
            return
        entries: dict[tuple[str | None, str], tuple[str, str]] = {}
        if act == Act.IMPORT_XREF:
            entries = {
                (row.supplier_code, row.item_code): (row.sku, row.item)
                for row in self.world.xref_entries()
            }
        elif act == Act.CLOSE_GAP:
            gaps = sorted(gap for gap, resolved in self.faithful.gaps.items() if not resolved)
            if gaps:
                _, code = gaps[number % len(gaps)]
                entries[None, code] = f"{_BY_HAND}{number}", ""
        elif self.faithful.xref:
            # Every other time one that somebody added by hand: so a gap opens again.
            chosen = sorted(self.faithful.xref, key=str)
            by_hand = [e for e in chosen if self.faithful.xref[e][0].startswith(_BY_HAND)]
            chosen = by_hand if number % 2 and by_hand else chosen
            supplier, code = chosen[number % len(chosen)]
            del self.faithful.xref[supplier, code]
            XrefEntry.objects.filter(supplier__code=supplier, erp_item_code=code).delete()
        self.faithful.xref |= entries
        for (supplier, code), (sku, item) in entries.items():
            if supplier is not None:
                self.faithful.suppliers.setdefault(supplier, "")
                Supplier.objects.get_or_create(code=supplier)
            XrefEntry.objects.update_or_create(
                supplier=supplier and Supplier.objects.get(code=supplier),
                erp_item_code=code,
                defaults={"sku": sku, "item": item},
            )

    def _configure(self) -> None:
        CustomColumn.objects.filter(source="erp").update(source="user", erp_column="")
        for slot, source in self.reading.slots.items():
            CustomColumn.objects.update_or_create(
                slot=slot,
                defaults={
                    "label": slot,
                    "source": CustomColumn.Source.ERP,
                    "erp_column": _COLUMNS[source],
                },
            )

    def _some_keys(self, tonight: Tonight, number: int) -> frozenset[Key]:
        whole = sorted(t.key for t in tonight.lines if t.presence == "present" and not t.fault)
        return frozenset(whole[number :: max(len(whole) // 3, 10)])

    # Checks

    def _accept(self, tonight: Tonight, report: Report, *, attempts: int = 1) -> Outcome:
        """Takes the run as applied and compares everything with what must be so."""
        gap = (tonight.run_date - (self.faithful.last_date or tonight.run_date)).days
        outcome = self.faithful.apply(tonight)
        run = IngestionRun.objects.get(identifier=report.run_identifier)
        self.runs.append(Ran(tonight, run.pk, outcome))
        Check(self.faithful, tonight, outcome, run, report).everything()
        assert report.erp_attempts == attempts
        if gap <= SETTLING_NIGHTS and self.reading.recheck_days == 60:
            self._compare_generations()
        self.written.update(
            AuditEvent=sum(
                bool(t.event and not outcome.baseline) + bool(t.xref_applied)
                for t in outcome.touched.values()
            )
            + outcome.baseline
            + len(outcome.gap_events)
            + len(outcome.renamed)
            + 1,
            ERPChangeEvent=sum(len(t.changes) for t in outcome.touched.values()),
            StatusChange=sum(t.move is not None for t in outcome.touched.values()),
            Batch=sum(len(t.batches) for t in outcome.touched.values()),
            ReceiptDateNote=sum(len(t.redated) for t in outcome.touched.values()),
        )
        found = {
            model.__name__: model._default_manager.count()
            for model in (AuditEvent, ERPChangeEvent, StoredBatch, ReceiptDateNote)
        }
        found["StatusChange"] = StatusChange.objects.exclude(reason=BY_A_PERSON).count()
        agree("rows of all runs", found, {name: self.written[name] for name in found})
        return outcome

    def _compare_generations(self) -> None:
        """No line of ours holds what belongs to two orders of the ERP, and no order two lines."""
        for truth in self.world.truth.lines():
            line = self.faithful.lines.get(truth.key)
            if line is not None and truth.presence != "absent" and not truth.fault:
                closed_unseen = line.presence not in ACTIVE
                assert line.world_generation == truth.generation or closed_unseen


class Watcher(NoProgress):
    """Does something when all is read and nothing applied yet."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act = act

    def stage(self, name: str) -> None:
        if name == "apply":
            self._act()


@dataclass(frozen=True)
class Ran:
    """An applied run."""

    tonight: Tonight
    run_id: int
    outcome: Outcome


BY_A_PERSON = "decided by a person"
_BY_HAND = "BY-HAND-"


def _record_milestone(line: Line, number: int) -> None:
    _own(
        line,
        ready_to_dispatch_date=START + timedelta(days=number),
        source_quality="supplier_confirmed",
        last_expeditor_update=datetime(2025, 1, 6, number % 24, tzinfo=UTC),
    )


def _add_ready_quantity(line: Line, number: int) -> None:
    _own(line, ready_quantity=Decimal(number), production_ready_date=START)


def _own(line: Line, **values: Value) -> None:
    assert values.keys() <= set(APPLICATION_OWNED_FIELDS)
    line.owned |= values
    _stored(line).update(**values)


def _fill_own_column(line: Line, number: int) -> None:
    _by_hand(line, "custom_text_5", f"own {number}")


def _write_over(line: Line, number: int) -> None:
    _by_hand(line, "custom_text_1", f"by hand {number}")


def _by_hand(line: Line, slot: str, value: str) -> None:
    line.custom[slot] = value
    line.by_person.add(slot)
    stored = _stored(line).get()
    setattr(stored, slot, value)
    stored.custom_sources[slot] = "user"
    stored.save(update_fields=[slot, "custom_sources"])


def _cancel(line: Line, number: int) -> None:
    if line.status not in FINAL:
        _move_by_hand(line, Status.CANCELLED)


def _produce(line: Line, number: int) -> None:
    if line.status == Status.PLANNED:
        _move_by_hand(line, Status.IN_PRODUCTION)


def _move_by_hand(line: Line, status: Status) -> None:
    stored = _stored(line).get()
    StatusChange.objects.create(
        po_line=stored,
        supplier=stored.supplier,
        previous_status=stored.status,
        new_status=status,
        reason=BY_A_PERSON,
        effective_at=start_of_business_day(START),
        correlation_id=uuid.uuid4(),
    )
    _stored(line).update(status=status)
    line.statuses.append(status)


def _stored(line: Line) -> models.QuerySet[POLine]:
    return POLine.objects.filter(**line.ident._asdict())


_ACTS_ON_LINES: dict[Act, Callable[[Line, int], None]] = {
    Act.MILESTONE: _record_milestone,
    Act.READY: _add_ready_quantity,
    Act.OWN_COLUMN: _fill_own_column,
    Act.OVER_ERP: _write_over,
    Act.CANCEL: _cancel,
    Act.PRODUCE: _produce,
}


# --- what goes wrong ------------------------------------------------------------------------------

_FAILING = frozenset(
    {Trouble.MAPPING, Trouble.EMPTY, Trouble.SHRUNK, Trouble.LINK, Trouble.STAGE, Trouble.LEASE}
)
_FATAL_STAGES = tuple(s for s in pipeline.STAGES[1:] if s != custom_columns.STAGE)
_ANY_ACTIVE = f"ST NOT IN {tuple(f'{code:<3}' for code in sorted(FINAL_CODES))}"


class Going:
    """A night's trouble at work."""

    def __init__(self, night: Night) -> None:
        self.night = night
        self.broken = 0  # how often the link broke

    def spoil(self, erp: Path, text: str, folder: Path) -> tuple[Path, str]:
        """The ERP and the mapping as the run meets them."""
        if self.night.trouble == Trouble.MAPPING:
            return erp, text.replace('"QTY_ORD"', '"QTY_ORDERED"')
        if self.night.trouble not in (Trouble.EMPTY, Trouble.SHRUNK):
            return erp, text
        spoilt = folder / "erp.sqlite3"
        shutil.copy(erp, spoilt)
        with closing(sqlite3.connect(spoilt)) as connection, connection:
            (rows,) = connection.execute(
                f"SELECT COUNT(*) FROM PUR_LINE WHERE {_ANY_ACTIVE}"
            ).fetchone()
            share = 100 if self.night.trouble == Trouble.EMPTY else 70
            connection.execute(
                f"DELETE FROM PUR_LINE WHERE REC_NO IN (SELECT REC_NO FROM PUR_LINE"
                f" WHERE {_ANY_ACTIVE} ORDER BY REC_NO LIMIT {rows * share // 100})"
            )
        return spoilt, text

    @contextmanager
    def patched(self) -> Iterator[None]:
        """The product with the trouble in it."""
        number = self.night.number
        with ExitStack() as stack:
            if self.night.trouble == Trouble.STAGE:
                stack.enter_context(_failing_after(_FATAL_STAGES[number % len(_FATAL_STAGES)]))
            elif self.night.trouble == Trouble.LEASE:
                lost = LeaseLostError("Another run took over.", "Look at the newer run.")
                stack.enter_context(patch.object(Lease, "release", side_effect=lost))
            elif self.night.trouble == Trouble.LINK:
                stack.enter_context(self._breaking_link(times=1 + number % 3, after=number // 3))
            yield

    @contextmanager
    def _breaking_link(self, *, times: int, after: int) -> Iterator[None]:
        """The link breaks so many times, each time when that many chunks have come through."""
        real = ErpReader._stream
        chunks_left = after

        def stream(erp: ErpReader, rows: Any) -> Iterator[Any]:
            nonlocal chunks_left
            for chunk in real(erp, rows):
                if self.broken < times and chunks_left == 0:
                    self.broken += 1
                    chunks_left = after
                    raise TransientErpError("The link is broken.", "Nothing to do.")
                chunks_left -= 1
                yield chunk

        with patch.object(ErpReader, "_stream", stream):
            yield


def _with_broken_receipts(erp: Path, folder: Path, tonight: Tonight) -> Path:
    """A copy of the ERP with tonight's faults in its receipts."""
    spoilt = folder / "receipts.sqlite3"
    shutil.copy(erp, spoilt)
    with closing(sqlite3.connect(spoilt)) as connection, connection:
        for receipt_id in tonight.broken_receipts:
            connection.execute(
                "UPDATE GR_POST SET GR_QTY = 'n/a' WHERE RTRIM(GR_NO) = ?", [receipt_id]
            )
        for receipt_id in tonight.twin_receipts:
            connection.execute(
                "INSERT INTO GR_POST SELECT * FROM GR_POST WHERE RTRIM(GR_NO) = ?", [receipt_id]
            )
    return spoilt


def _failing_after(stage_name: str) -> Any:
    """The stage does all its work and then fails."""

    def failing(stage: Callable[[RunContext], StageResult]) -> Callable[[RunContext], StageResult]:
        def run(context: RunContext) -> StageResult:
            stage(context)
            raise RuntimeError("a fault of ours")

        return run

    stages = tuple(
        (name, failing(stage) if name == stage_name else stage)
        for name, stage in pipeline.APPLY_STAGES
    )
    return patch.object(pipeline, "APPLY_STAGES", stages)


def _missing(keys: frozenset[Key]) -> Any:
    """The extract does not yield these rows, as a read of moving data may not."""
    real = ErpReader.active_rows

    def active_rows(erp: ErpReader) -> Iterator[Any]:
        fields = erp.mapping.lines.fields
        po, line = (erp.columns.index(fields[name].column) for name in ("po_number", "line_number"))
        for chunk in real(erp):
            yield [row for row in chunk if (str(row[po]).rstrip(), str(row[line])) not in keys]

    return patch.object(ErpReader, "active_rows", active_rows)


# --- what must be so ------------------------------------------------------------------------------


class Check:
    """Compares the database and the report with what a run had to do."""

    def __init__(
        self,
        faithful: Faithful,
        tonight: Tonight,
        outcome: Outcome,
        run: IngestionRun,
        report: Report,
    ) -> None:
        self.faithful = faithful
        self.tonight = tonight
        self.outcome = outcome
        self.run = run
        self.report = report
        self.idents = {
            pk: Ident(po_number, line_number, generation)
            for pk, po_number, line_number, generation in POLine.objects.values_list(
                "pk", "po_number", "line_number", "generation"
            )
        }
        self.suppliers: dict[int, str] = dict(Supplier.objects.values_list("pk", "code"))

    def everything(self) -> None:
        self.lines_are_as_they_must_be()
        self.truth_is_known()
        self.batches_add_up()
        self.changes_are_told()
        self.events_are_told_once()
        self.gaps_and_suppliers_are_known()
        self.snapshot_is_what_was_seen()
        self.counters_are_row_counts()
        self.report_names_what_needs_attention()

    def lines_are_as_they_must_be(self) -> None:
        names = [name for name in OURS.values() if name != "supplier_code"]
        found = {
            self.idents[row.pop("pk")]: row
            for row in POLine.objects.values(
                "pk", "supplier__code", *names, *CUSTOM_SLOTS, *APPLICATION_OWNED_FIELDS,
                "custom_sources", "sku", "item", "unmapped", "batched_quantity", "status",
                "presence", "presence_since",
            )
        }  # fmt: skip
        lines = self.faithful.all_lines()
        agree("lines", found, {line.ident: _expected(line) for line in lines})

    def truth_is_known(self) -> None:
        """Straight from the world: what it shows is stored as it is, whatever came before."""
        lines = {line.ident[:2]: line for line in self.faithful.lines.values()}
        stored = {
            (line.po_number, line.line_number): line
            for line in POLine.objects.exclude(presence=Presence.RETIRED).select_related("supplier")
        }
        present = {key for key, line in stored.items() if line.presence == Presence.PRESENT}
        unseen = {t.key for t in self.tonight.lines if t.fault or t.key in self.tonight.missed}
        accepted = {t.key for t in self.tonight.lines if t.accepted}
        assert present - unseen == accepted - unseen
        for truth in self.tonight.lines:
            if truth.key not in self.outcome.looked_at:
                continue
            line = stored[truth.key]
            assert line.delivered_quantity == truth.values["delivered_quantity"]
            assert line.ordered_quantity == truth.values["ordered_quantity"]
            assert line.supplier.code == truth.values["supplier_code"]
            assert line.promised_date == truth.values["promised_date"]
            assert line.presence == truth.presence
            self._status_follows(line, truth, lines[truth.key])

    def _status_follows(self, stored: POLine, truth: LineTruth, line: Line) -> None:
        """What the quantities and a final code imply, whatever the way there."""
        if truth.values["status"] in FINAL_CODES:
            assert stored.status in FINAL
        elif stored.status != Status.CANCELLED:
            ordered, delivered = stored.ordered_quantity, stored.delivered_quantity
            if delivered >= ordered:
                assert stored.status == Status.FULLY_DELIVERED
            elif delivered > 0:
                assert stored.status == Status.PART_DELIVERED
            else:
                assert stored.status not in ("part_delivered", "fully_delivered", "closed")

    def batches_add_up(self) -> None:
        by_line: dict[Ident, list[Batch]] = defaultdict(list)
        totals: dict[Ident, Decimal] = defaultdict(Decimal)
        tonight: dict[Ident, list[StoredBatch]] = defaultdict(list)
        for batch in StoredBatch.objects.order_by("pk"):
            ident = self.idents[batch.po_line_id]
            by_line[ident].append(
                Batch(
                    batch.kind,
                    batch.quantity,
                    batch.delivered_on,
                    batch.date_uncertain,
                    batch.receipt_id,
                )
            )
            if batch.run_id == self.run.pk:
                tonight[ident].append(batch)
            else:
                totals[ident] += batch.quantity
        for line in self.faithful.all_lines():
            found = by_line[line.ident]
            agree(f"batches of {line.ident}", Counter(found), Counter(line.batches))
            assert sum(batch.quantity for batch in found) == line.delivered, line.ident
            ordered = line.values["ordered_quantity"]
            assert isinstance(ordered, Decimal)
            for batch in tonight[line.ident]:
                totals[line.ident] += batch.quantity
                total = totals[line.ident]
                assert batch.over_delivery == (batch.quantity > 0 and total > ordered)
                assert batch.negative_total == (total < 0)
                suppliers = self.outcome.touched[line.ident].suppliers
                assert self.suppliers[batch.supplier_id] in suppliers
        if self.tonight.reading.receipts:
            known = {
                (receipt.receipt_id, self.idents[receipt.po_line_id]): (
                    receipt.quantity,
                    receipt.receipt_date,
                )
                for receipt in ERPReceipt.objects.exclude(quantity=0)
            }
            for line in self.faithful.lines.values():
                for receipt_id, told in line.receipts.items():
                    assert known[receipt_id, line.ident] == told

    def changes_are_told(self) -> None:
        found: dict[Ident, list[Change]] = defaultdict(list)
        for event in ERPChangeEvent.objects.filter(run=self.run):
            ident = self.idents[event.po_line_id]
            found[ident].append(
                Change(event.field, event.previous_value, event.new_value, event.difference)
            )
            then = self.outcome.touched[ident].suppliers[0]
            assert self.suppliers[event.supplier_id] == then, (ident, event.field)
            assert event.effective_at == self._moment
        changes = {ident: Counter(told) for ident, told in found.items()}
        agree(
            "change events",
            changes,
            {i: Counter(t.changes) for i, t in self.outcome.touched.items() if t.changes},
        )
        moves = {
            self.idents[move.po_line_id]: (move.previous_status, move.new_status)
            for move in StatusChange.objects.filter(correlation_id=self.run.identifier)
        }
        agree("moves", moves, {i: t.move for i, t in self.outcome.touched.items() if t.move})
        notes = Counter(
            self.idents[note.batch.po_line_id]
            for note in ReceiptDateNote.objects.filter(run=self.run).select_related("batch")
        )
        redated = {i: len(t.redated) for i, t in self.outcome.touched.items() if t.redated}
        agree("notes of receipt dates", notes, redated)

    def events_are_told_once(self) -> None:
        outcome = self.outcome
        found = defaultdict(list)
        for event in AuditEvent.objects.filter(correlation_id=self.run.identifier):
            found[event.event_type].append(event)
            assert event.effective_at == self._moment
            assert event.actor_name
        (completed,) = found.pop("ingestion_completed")
        assert completed.data == self.report.as_dict()
        assert len(found.pop("ingestion_baseline", [])) == outcome.baseline
        assert Counter(
            (event.data["supplier"], event.data["item_code"]) for event in found.pop("xref_gap", [])
        ) == Counter(outcome.gap_events)
        renamed = {
            self.suppliers[event.supplier_id or 0]: (event.data["previous"], event.data["new"])
            for event in found.pop("supplier_renamed", [])
        }
        agree("renamed suppliers", renamed, outcome.renamed)
        applied = {
            self.idents[event.po_line_id]: (
                tuple(event.data["previous"].values()),
                tuple(event.data["new"].values()),
            )
            for event in found.pop("xref_applied", [])
        }
        derived = {i: t.xref_applied for i, t in outcome.touched.items() if t.xref_applied}
        agree("xref_applied", applied, derived)
        told = {}
        for event_type, events in found.items():
            for event in events:
                ident = self.idents[event.po_line_id]
                assert ident not in told, "two line events for one line"
                told[ident] = event_type
                self._event_carries_everything(event, ident)
        expected = {} if outcome.baseline else outcome.touched
        agree("line events", told, {i: touch.event for i, touch in expected.items() if touch.event})

    def _event_carries_everything(self, event: AuditEvent, ident: Ident) -> None:
        touch = self.outcome.touched[ident]
        assert event.supplier_id is not None
        assert self.suppliers[event.supplier_id] == touch.suppliers[0], ident
        assert sorted(
            (change["field"], change["previous"], change["new"])
            for change in event.data.get("changes", [])
        ) == sorted(change[:3] for change in touch.changes)
        status = event.data.get("status")
        assert (status and (status["previous"], status["new"])) == touch.move
        assert Counter(
            (batch["kind"], Decimal(batch["quantity"])) for batch in event.data.get("batches", [])
        ) == Counter((batch.kind, batch.quantity) for batch in touch.batches)
        if touch.event == "po_line_left":
            line = self.faithful.lines[ident[:2]]
            assert event.data["presence"] == line.presence

    def gaps_and_suppliers_are_known(self) -> None:
        gaps = {
            (gap.supplier.code, gap.erp_item_code): gap
            for gap in XrefGap.objects.select_related("supplier")
        }
        moments = {
            pair: resolved and start_of_business_day(resolved)
            for pair, resolved in self.faithful.gaps.items()
        }
        agree("gaps", {pair: gap.resolved_at for pair, gap in gaps.items()}, moments)
        for pair, gap in gaps.items():
            assert gap.line_count == self.outcome.gaps.get(pair, 0)
            assert gap.first_seen <= gap.last_seen <= self._moment
            assert (gap.last_seen == self._moment) == (pair in self.outcome.gaps)
        names = dict(Supplier.objects.values_list("code", "name"))
        agree("suppliers", names, self.faithful.suppliers)

    def snapshot_is_what_was_seen(self) -> None:
        rows = ERPSnapshot.objects.filter(run=self.run)
        found = {(row.po_number, row.line_number): row.extracted for row in rows}
        assert len(rows) == len(found)
        agree("snapshot rows", found, self.outcome.looked_at)
        rejected = RejectedRow.objects.filter(run=self.run)
        receipts = rejected.filter(relation="deliveries").values_list("receipt_id", flat=True)
        assert Counter(receipts) == Counter(self.outcome.rejected_receipts)
        rejected = rejected.filter(relation="lines")
        counted = Counter((row.po_number, row.line_number) for row in rejected)
        agree("rejected rows", counted, self.outcome.rejected)
        assert all(row.reason and row.raw_values for row in rejected)
        # Nothing is left of failed runs, and of receipts only tonight's copies.
        assert not ERPSnapshot.objects.filter(run__status="failed").exists()
        assert not ReceiptSnapshot.objects.exclude(run=self.run).exists()

    def counters_are_row_counts(self) -> None:
        run, report, outcome = self.run, self.report, self.outcome
        events = AuditEvent.objects.filter(correlation_id=run.identifier)
        counted = {
            "po_lines_processed": rows_of(ERPSnapshot, run, extracted=True, presence="present"),
            "new_lines_created": POLine.objects.filter(first_run=run.pk).count(),
            "lines_changed": events.filter(event_type="ingestion_change").count(),
            "change_events_detected": rows_of(ERPChangeEvent, run),
            "lines_left": events.filter(event_type="po_line_left").count(),
            "lines_returned": events.filter(event_type="po_line_returned").count(),
            "batches_reconstructed": rows_of(StoredBatch, run),
            "rejected_rows": rows_of(RejectedRow, run),
        }
        expected = {
            "po_lines_processed": outcome.processed,
            "new_lines_created": outcome.events("po_line_created")
            + outcome.events("ingestion_baseline"),
            "lines_changed": outcome.events("ingestion_change"),
            "change_events_detected": sum(len(t.changes) for t in outcome.touched.values()),
            "lines_left": outcome.events("po_line_left"),
            "lines_returned": outcome.events("po_line_returned"),
            "batches_reconstructed": sum(len(t.batches) for t in outcome.touched.values()),
            "rejected_rows": sum(outcome.rejected.values()) + len(outcome.rejected_receipts),
        }
        reported = report.as_dict()
        agree("counted rows", counted, expected)
        agree("report", {name: reported[name] for name in expected}, expected)
        agree("run", {name: getattr(run, name) for name in expected}, expected)
        assert report.custom_columns_populated == outcome.populated
        assert report.xref_gaps_found == len(outcome.gaps)
        assert {
            (entry["supplier"], entry["item_code"]): entry["lines"]
            for entry in report.unmapped_item_codes
        } == outcome.gaps
        assert report.mode == ("baseline" if outcome.baseline else "incremental")
        incomplete = reported["rejected_rows"] > 0 or self.tonight.custom_fails
        assert report.status == ("partial" if incomplete else "success")
        assert run.status == report.status

    def report_names_what_needs_attention(self) -> None:
        outcome = self.outcome
        messages = [entry["message"] for entry in self.report.errors_encountered]
        changes = [message for message in messages if "Configuration change" in message]
        assert len(changes) == len(outcome.configuration), (changes, outcome.configuration)
        unusable = bool(outcome.rejected or outcome.rejected_receipts)
        assert any("cannot be used" in message for message in messages) == unusable
        assert any("cannot be read" in message for message in messages) == outcome.unreadable
        unknown = [message for message in messages if message.startswith("The status code")]
        unknown_lines = sum(int(message.split()[5]) for message in unknown)
        assert unknown_lines == outcome.unknown_codes, (unknown, outcome.unknown_codes)
        assert any("more than once" in message for message in messages) == bool(outcome.duplicates)
        if outcome.received_though_cancelled:
            assert any("cancelled" in message for message in messages)

    @property
    def _moment(self) -> datetime:
        return start_of_business_day(self.tonight.run_date)


def agree(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Raises AssertionError with the first few entries that are not as they must be."""
    keys = [key for key in {**expected, **found} if found.get(key) != expected.get(key)]
    told = [
        f"{key}: found {_shortened(found.get(key), expected.get(key))},"
        f" must be {_shortened(expected.get(key), found.get(key))}"
        for key in keys[:5]
    ]
    assert not keys, "\n".join([f"{what}: {len(keys)} differ", *told])


def _shortened(value: Any, other: Any) -> Any:
    """Of a row only what is not as in the other."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {name: value[name] for name in value if value[name] != other.get(name)}
    return value


def rows_of(model: type[models.Model], run: IngestionRun, **condition: object) -> int:
    return model._default_manager.filter(run=run, **condition).count()


def _expected(line: Line) -> dict[str, Any]:
    """The line as its row must be."""
    custom: dict[str, Any] = {
        slot: line.custom.get(slot, "" if "text" in slot else None) for slot in CUSTOM_SLOTS
    }
    sources = {
        slot: "user" if slot in line.by_person else "erp"
        for slot, value in line.custom.items()
        if value
    }
    owned: dict[str, Any] = {
        "production_ready_date": None,
        "ready_to_dispatch_date": None,
        "source_quality": "",
        "ready_quantity": Decimal(0),
        "last_expeditor_update": None,
    }
    return {
        "supplier__code": line.supplier,
        **{ours: line.values[name] for name, ours in OURS.items() if name != "supplier_code"},
        **custom,
        **owned,
        **line.owned,
        "custom_sources": sources,
        **line.derived._asdict(),
        "batched_quantity": line.batched,
        "status": line.status,
        "presence": line.presence,
        "presence_since": line.presence_since,
    }


# --- tables ---------------------------------------------------------------------------------------


def dump() -> dict[str, Rows]:
    """Every table of ours, row by row."""
    return {
        model.__name__: {row["id"]: row for row in model._base_manager.values()}
        for label in ("po", "batches", "audit", "ingestion")
        for model in apps.get_app_config(label).get_models()
    }


def added(before: dict[str, Rows], after: dict[str, Rows]) -> dict[str, list[dict[str, Any]]]:
    """What was written: rows that are new or not as they were; of removed ones the id."""
    written = {}
    for name, rows in after.items():
        changed = [row for pk, row in rows.items() if before[name].get(pk) != row]
        removed = [{"id": pk} for pk in before[name].keys() - rows.keys()]
        if changed or removed:
            written[name] = changed + removed
    return written


def content_of(folder: Path) -> dict[str, str]:
    """The ERP's files, byte for byte."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }


@contextmanager
def lived(history: History, watch: Watch | None = None) -> Iterator[Company]:
    """A company after its nights, each of them checked. Afterwards everything written is undone, so
    that the examples of one test do not meet."""
    with transaction.atomic(), TemporaryDirectory() as folder:
        company = Company(history, Path(folder), watch)
        company.spend(Night(acts=((Act.IMPORT_XREF, 0),)))
        for night in history.nights:
            company.spend(night)
        yield company
        transaction.set_rollback(True)
