"""What a faithful application must know of the simulated ERP after each night, by rules.md.

It takes the word of the simulated world (apps/demo/truth.py) for what the ERP says, and shares
nothing with the pipeline but the pure function that moves a status. It is slow and plain: every
line is looked at every night.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from apps.demo.ledger import FINAL_CODES, KEYLESS, REJECTED_ROWS, Fault, Key, Value
from apps.demo.truth import LineTruth
from apps.po import lifecycle
from apps.po.lifecycle import Status

NOTHING = Decimal("0.000")
ACTIVE = frozenset({"present", "aged_out"})

# The mapping's names and ours, of everything that is compared.
OURS = {
    "supplier_code": "supplier_code",
    "item_code": "erp_item_code",
    "ordered_quantity": "ordered_quantity",
    "delivered_quantity": "delivered_quantity",
    "status": "erp_status",
    "promised_date": "promised_date",
    "in_date": "in_date",
    "item": "erp_item",
    "po_insert_date": "po_insert_date",
    "final_customer": "final_customer",
    "sku": "erp_sku",
    "updated_at": "erp_updated_at",
}
# What stands where an optional field was never read.
EMPTY: dict[str, Value] = {
    "in_date": None,
    "updated_at": None,
    "item": "",
    "final_customer": "",
    "sku": "",
}


class Ident(NamedTuple):
    """A line: its key and which of the orders that had the key."""

    po_number: str
    line_number: str
    generation: int


class Batch(NamedTuple):
    kind: str
    quantity: Decimal
    delivered_on: date | None
    date_uncertain: bool
    receipt_id: str = ""


class Change(NamedTuple):
    """A change event, as its table has it."""

    field: str
    previous: str | None
    new: str | None
    difference: Decimal | None


class Derived(NamedTuple):
    sku: str
    item: str
    unmapped: bool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is read of the ERP. Sources are named as in `LineTruth`; the values of the dictionaries
    say what a field is read from."""

    sources: Mapping[str, str]
    meanings: Mapping[str, str]  # status code -> lifecycle status
    receipts: bool
    recheck_days: int
    lookback_days: int
    slots: Mapping[str, str]  # custom slot -> one of the world's columns

    @property
    def field_set(self) -> dict[str, object]:
        """What makes a configuration change when it differs."""
        return {
            **{f"field {name}": source for name, source in self.sources.items()},
            **{f"slot {name}": source for name, source in self.slots.items()},
            "meanings": dict(self.meanings),
            **({"receipts": True} if self.receipts else {}),
        }

    def meaning(self, code: str) -> Status | None:
        return Status(self.meanings[code]) if code in self.meanings else None


@dataclass(frozen=True, kw_only=True)
class Tonight:
    """What a run can see, and how."""

    run_date: date
    lines: Collection[LineTruth]
    reading: Reading
    missed: frozenset[Key] = frozenset()  # active rows that the extract does not yield
    broken_receipts: frozenset[str] = frozenset()  # receipts that cannot be read
    twin_receipts: frozenset[str] = frozenset()  # receipts that stand twice
    custom_fails: bool = False


@dataclass
class Line:
    """One line as the application must have it."""

    ident: Ident
    world_generation: int
    values: dict[str, Value]  # by the mapping's names
    sources: Mapping[str, str]
    meanings: Mapping[str, str]
    presence: str
    presence_since: date
    statuses: list[Status]
    derived: Derived
    batches: list[Batch] = field(default_factory=list)
    receipts: dict[str, tuple[Decimal, date | None]] = field(default_factory=dict)
    receipts_known: bool = False
    erp_custom: dict[str, tuple[str, Value]] = field(default_factory=dict)  # source, value
    custom: dict[str, Value] = field(default_factory=dict)
    by_person: set[str] = field(default_factory=set)  # slots and application-owned fields
    owned: dict[str, Value] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return self.ident.po_number, self.ident.line_number

    @property
    def supplier(self) -> str:
        return str(self.values["supplier_code"])

    @property
    def status(self) -> Status:
        return self.statuses[-1]

    @property
    def delivered(self) -> Decimal:
        return _quantity(self.values["delivered_quantity"])

    @property
    def batched(self) -> Decimal:
        return sum((batch.quantity for batch in self.batches), NOTHING)

    def before_final(self) -> Status:
        """The last status that was not final."""
        return next(
            (s for s in reversed(self.statuses) if s not in lifecycle.FINAL), Status.PLANNED
        )

    def before_delivery(self) -> Status:
        """The status before the first delivery; planned where nobody knows."""
        undelivered = Status.PLANNED
        before = undelivered
        for status in self.statuses:
            if status in lifecycle.DELIVERED:
                before = undelivered
            elif status not in lifecycle.FINAL:
                undelivered = status
        return before


@dataclass
class Touch:
    """What one run must do to one line. Suppliers: before and after."""

    event: str = ""
    suppliers: tuple[str, str] = ("", "")
    changes: list[Change] = field(default_factory=list)
    move: tuple[Status, Status] | None = None
    batches: list[Batch] = field(default_factory=list)
    redated: list[str] = field(default_factory=list)
    xref_applied: tuple[Derived, Derived] | None = None

    @property
    def told(self) -> bool:
        return bool(self.changes or self.move or self.batches or self.redated)


@dataclass
class Outcome:
    """What one applied run must write and report."""

    touched: dict[Ident, Touch] = field(default_factory=dict)
    looked_at: dict[Key, bool] = field(default_factory=dict)  # key -> read with the active lines
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected_receipts: frozenset[str] = frozenset()
    gap_events: set[tuple[str, str]] = field(default_factory=set)
    gaps: dict[tuple[str, str], int] = field(default_factory=dict)
    renamed: dict[str, tuple[str, str]] = field(default_factory=dict)
    configuration: set[str] = field(default_factory=set)
    processed: int = 0
    populated: int = 0
    unknown_codes: int = 0
    unreadable: bool = False
    duplicates: int = 0
    received_though_cancelled: bool = False
    baseline: bool = False

    def events(self, event_type: str) -> int:
        return sum(touch.event == event_type for touch in self.touched.values())

    @property
    def is_nothing(self) -> bool:
        """Whether a run like this changes no line, batch or gap and tells nothing."""
        return not (
            self.touched or self.gap_events or self.renamed or self.configuration or self.baseline
        )


class Faithful:
    """The application as it must be, run by run."""

    def __init__(self) -> None:
        self.lines: dict[Key, Line] = {}
        self.retired: list[Line] = []
        self.suppliers: dict[str, str] = {}
        self.xref: dict[tuple[str | None, str], tuple[str, str]] = {}
        # (supplier, code) -> when it was found mapped; None for a gap that is still one
        self.gaps: dict[tuple[str, str], date | None] = {}
        self.reading: Reading | None = None
        self.last_date: date | None = None

    def all_lines(self) -> list[Line]:
        return [*self.lines.values(), *self.retired]

    # The guard

    def refuses(self, tonight: Tonight) -> bool:
        """Whether tonight's extract is one that cannot be true (rules.md "Guard")."""
        extract = [line for line in tonight.lines if _in_extract(line, tonight)]
        accepted = sum(not _is_rejected(line) and line.presence == "present" for line in extract)
        rejected = sum(REJECTED_ROWS[line.fault] for line in extract if line.fault)
        aged = {line.key for line in extract if line.presence == "aged_out"}
        before = sum(
            line.presence == "present" and key not in aged for key, line in self.lines.items()
        )
        return (
            accepted + rejected == 0
            or rejected > Decimal("0.05") * (accepted + rejected)
            or before - accepted > Decimal("0.3") * before
        )

    # One applied run

    def apply(self, tonight: Tonight) -> Outcome:
        reading = tonight.reading
        outcome = Outcome(baseline=self.last_date is None)
        if self.reading is not None:
            before, now = self.reading.field_set, reading.field_set
            outcome.configuration = {
                name for name in {*before, *now} if before.get(name) != now.get(name)
            }
            if self.reading.receipts and not reading.receipts:
                for line in self.lines.values():
                    line.receipts_known = False
        if not reading.slots:
            # The next slot that is read is one that this run did not have, for whatever line.
            for line in self.lines.values():
                line.erp_custom.clear()
        if reading.receipts:
            outcome.rejected_receipts = tonight.broken_receipts
            outcome.duplicates += len(tonight.twin_receipts)
        visible, unreadable_keys = self._look(tonight, outcome)
        self._name_suppliers(visible, outcome, reading)
        self._settle_gaps(visible, outcome, tonight.run_date)
        for line in list(self.lines.values()):
            if line.key not in visible:
                self._derive_anew(line, outcome)
                gone = line.presence in ACTIVE and line.key not in unreadable_keys
                if gone:
                    self._set_presence(line, "absent", tonight.run_date)
                    self._touch(line, outcome).event = "po_line_left"
        for key, truth in visible.items():
            known = self.lines.get(key)
            if known is not None and self._is_another_order(known, truth):
                self._set_presence(known, "retired", tonight.run_date)
                self._touch(known, outcome).event = "ingestion_change"
                self.retired.append(self.lines.pop(key))
                self._begin(truth, tonight, outcome, known.ident.generation + 1)
            elif known is None:
                self._begin(truth, tonight, outcome, 1)
            else:
                self._go_on(known, truth, tonight, outcome)
        for ident in [i for i, t in outcome.touched.items() if not (t.event or t.xref_applied)]:
            assert not outcome.touched[ident].told
            del outcome.touched[ident]
        self.reading, self.last_date = reading, tonight.run_date
        return outcome

    def _look(self, tonight: Tonight, outcome: Outcome) -> tuple[dict[Key, LineTruth], set[Key]]:
        """The lines that the run sees, and the keys of rows that it sees and cannot use."""
        visible: dict[Key, LineTruth] = {}
        unreadable: set[Key] = set()
        for truth in tonight.lines:
            extracted = _in_extract(truth, tonight)
            known = self.lines.get(truth.key)
            asked = known is not None and self._asks_for(known, tonight)
            if truth.fault and truth.fault in KEYLESS:
                if extracted:
                    po_number, line_number = truth.key
                    blank_order = truth.fault == Fault.BLANK_ORDER
                    shown = ("", line_number) if blank_order else (po_number, "")
                    outcome.rejected[shown] += 1
            elif _is_rejected(truth):
                if extracted or asked:
                    assert truth.fault
                    outcome.rejected[truth.key] += REJECTED_ROWS[truth.fault]
                    unreadable.add(truth.key)
            elif extracted or (asked and truth.presence != "absent"):
                if truth.presence == "aged_out" and known is None:
                    continue  # no line begins aged
                visible[truth.key] = truth
                outcome.looked_at[truth.key] = extracted
                outcome.processed += extracted and truth.presence == "present"
                outcome.duplicates += truth.fault == Fault.DUPLICATE
                outcome.unreadable |= (
                    truth.fault == Fault.UNREADABLE_CUSTOM
                    and "custom_decimal" in tonight.reading.slots.values()
                )
                code = str(truth.values["status"])
                if truth.presence == "present" and code not in tonight.reading.meanings:
                    outcome.unknown_codes += 1
        return visible, unreadable

    def _asks_for(self, line: Line, tonight: Tonight) -> bool:
        """Whether the line is looked up by its key if the extract does not show it."""
        if line.presence in ("closed", "cancelled"):
            recheck = timedelta(days=tonight.reading.recheck_days)
            return tonight.run_date - line.presence_since < recheck
        return True

    # Suppliers and the cross-reference

    def _name_suppliers(
        self, visible: Mapping[Key, LineTruth], outcome: Outcome, reading: Reading
    ) -> None:
        previous = self.reading.sources.get("supplier_name") if self.reading else None
        silent = previous != reading.sources.get("supplier_name")
        for truth in visible.values():
            code = str(truth.values["supplier_code"])
            old = self.suppliers.setdefault(code, "")
            if truth.presence != "present" or "supplier_name" not in reading.sources:
                continue
            name = str(truth.values[reading.sources["supplier_name"]])
            if name and name != old:
                self.suppliers[code] = name
                if old and not silent:
                    outcome.renamed[code] = old, name

    def _settle_gaps(
        self, visible: Mapping[Key, LineTruth], outcome: Outcome, run_date: date
    ) -> None:
        pairs = Counter(
            (str(truth.values["supplier_code"]), str(truth.values["item_code"]))
            for truth in visible.values()
            if truth.presence == "present"
        )
        for pair, lines in pairs.items():
            if not self._is_mapped(*pair):
                outcome.gaps[pair] = lines
                if pair not in self.gaps or self.gaps[pair] is not None:
                    outcome.gap_events.add(pair)
                self.gaps[pair] = None
        for pair, resolved in self.gaps.items():
            if resolved is None and self._is_mapped(*pair):
                self.gaps[pair] = run_date

    def _is_mapped(self, supplier: str, code: str) -> bool:
        return (supplier, code) in self.xref or (None, code) in self.xref

    def _derive(self, values: Mapping[str, Value]) -> Derived:
        code = str(values["item_code"])
        entry = self.xref.get((str(values["supplier_code"]), code)) or self.xref.get((None, code))
        sku, item = entry or ("", "")
        return Derived(
            sku or str(values["sku"]), item or str(values["item"]), unmapped=entry is None
        )

    def _derive_anew(self, line: Line, outcome: Outcome) -> None:
        new = self._derive(line.values)
        if new != line.derived:
            self._touch(line, outcome).xref_applied = line.derived, new
            line.derived = new

    # Lines

    def _is_another_order(self, line: Line, truth: LineTruth) -> bool:
        if line.presence in ACTIVE or (line.presence != "absent" and truth.presence not in ACTIVE):
            return False
        return any(
            line.values[name] != truth.values[name] for name in ("supplier_code", "po_insert_date")
        )

    def _begin(self, truth: LineTruth, tonight: Tonight, outcome: Outcome, generation: int) -> None:
        values = EMPTY | _read(truth, tonight.reading)
        reading = tonight.reading
        line = Line(
            ident=Ident(*truth.key, generation),
            world_generation=truth.generation,
            values=values,
            sources=reading.sources,
            meanings=reading.meanings,
            presence=truth.presence,
            presence_since=tonight.run_date,
            statuses=[
                lifecycle.first_status(
                    mapped=reading.meaning(str(values["status"])),
                    ordered=_quantity(values["ordered_quantity"]),
                    delivered=_quantity(values["delivered_quantity"]),
                )
            ],
            derived=self._derive(values),
        )
        self.lines[line.key] = line
        touch = self._touch(line, outcome)
        touch.event = "" if outcome.baseline else "po_line_created"
        if reading.receipts:
            line.receipts_known = True
            self._take_receipts(line, truth, tonight, touch)
        elif line.delivered:
            in_date = values["in_date"]
            assert in_date is None or isinstance(in_date, date)
            touch.batches.append(Batch("opening", line.delivered, in_date, False))
        line.batches += touch.batches
        self._fill_custom(line, truth, tonight, touch, outcome)
        if outcome.baseline:
            touch.event = "ingestion_baseline"

    def _go_on(self, line: Line, truth: LineTruth, tonight: Tonight, outcome: Outcome) -> None:
        reading = tonight.reading
        supplier_then = line.supplier
        was, was_active = line.presence, line.presence in ACTIVE
        touch = self._touch(line, outcome)
        old, new = line.values, line.values | _read(truth, reading)
        touch.changes = [
            _change(OURS[name], old[name], new[name])
            for name in OURS
            if name in reading.sources
            and line.sources.get(name) == reading.sources[name]
            and old[name] != new[name]
        ]
        move = self._move(line, new, reading)
        if move is not None:
            touch.move = line.status, move
            line.statuses.append(move)
        line.values, line.sources, line.meanings = new, reading.sources, reading.meanings
        touch.suppliers = supplier_then, line.supplier
        self._derive_anew(line, outcome)
        self._take_deliveries(line, truth, tonight, touch)
        self._fill_custom(line, truth, tonight, touch, outcome)
        if truth.presence != was:
            self._set_presence(line, truth.presence, tonight.run_date)
        is_active = line.presence in ACTIVE
        if is_active and not was_active:
            touch.event = "po_line_returned"
        elif was_active and not is_active:
            touch.event = "po_line_left"
        elif touch.told or (line.presence != was and not is_active):
            touch.event = "ingestion_change"
        cancelled_by_person = (
            line.status == Status.CANCELLED
            and reading.meaning(str(new["status"])) not in lifecycle.FINAL
        )
        if cancelled_by_person and any(batch.quantity > 0 for batch in touch.batches):
            outcome.received_though_cancelled = True

    def _move(self, line: Line, new: Mapping[str, Value], reading: Reading) -> Status | None:
        code, code_before = str(new["status"]), str(line.values["status"])
        meaning = reading.meaning(code)
        known_before = line.meanings.get(code_before)
        move = lifecycle.erp_move(
            line.status,
            mapped=meaning,
            previous_mapped=None if known_before is None else Status(known_before),
            code_changed=code != code_before,
            ordered=_quantity(new["ordered_quantity"]),
            delivered=_quantity(new["delivered_quantity"]),
            previous_ordered=_quantity(line.values["ordered_quantity"]),
            previous_delivered=line.delivered,
            before_final=line.before_final(),
            before_delivery=line.before_delivery(),
        )
        return None if move is None else move.status

    def _set_presence(self, line: Line, presence: str, run_date: date) -> None:
        line.presence, line.presence_since = presence, run_date

    def _touch(self, line: Line, outcome: Outcome) -> Touch:
        touch = outcome.touched.setdefault(line.ident, Touch())
        if not touch.suppliers[0]:
            touch.suppliers = line.supplier, line.supplier
        return touch

    # Batches

    def _take_deliveries(
        self, line: Line, truth: LineTruth, tonight: Tonight, touch: Touch
    ) -> None:
        if tonight.reading.receipts and line.receipts_known:
            self._take_receipts(line, truth, tonight, touch)
        else:
            gained = line.delivered - line.batched
            if gained < 0:
                touch.batches.append(Batch("correction", gained, tonight.run_date, False))
            elif gained > 0:
                touch.batches.append(self._between_runs(line, gained, tonight.run_date))
            if tonight.reading.receipts:
                # The batches so far tell of these receipts already.
                line.receipts = _receipts(line, truth, tonight)
                line.receipts_known = True
        line.batches += touch.batches

    def _between_runs(self, line: Line, gained: Decimal, run_date: date) -> Batch:
        in_date = line.values["in_date"] if "in_date" in line.sources else None
        assert in_date is None or isinstance(in_date, date)
        assert self.last_date is not None
        if in_date is not None and self.last_date < in_date <= run_date:
            return Batch("between_runs", gained, in_date, False)
        return Batch("between_runs", gained, run_date, True)

    def _take_receipts(self, line: Line, truth: LineTruth, tonight: Tonight, touch: Touch) -> None:
        now, before = _receipts(line, truth, tonight), line.receipts
        known = {batch.receipt_id for batch in line.batches}
        for receipt_id, (quantity, received_on) in now.items():
            if receipt_id not in before:
                touch.batches.append(Batch("exact", quantity, received_on, False, receipt_id))
                continue
            old_quantity, old_day = before[receipt_id]
            if quantity != old_quantity:
                touch.batches.append(
                    Batch(
                        "correction", quantity - old_quantity, tonight.run_date, False, receipt_id
                    )
                )
            if received_on != old_day and receipt_id in known:
                touch.redated.append(receipt_id)
        for receipt_id in before.keys() - now.keys():
            touch.batches.append(
                Batch("correction", -before[receipt_id][0], tonight.run_date, False, receipt_id)
            )
        line.receipts = now
        explained = line.batched + sum((batch.quantity for batch in touch.batches), NOTHING)
        if explained != line.delivered:
            rest = line.delivered - explained
            touch.batches.append(Batch("unexplained", rest, tonight.run_date, True))

    # Custom columns

    def _fill_custom(
        self, line: Line, truth: LineTruth, tonight: Tonight, touch: Touch, outcome: Outcome
    ) -> None:
        if tonight.custom_fails:
            return
        slots = tonight.reading.slots
        # A slot that is not read for a night is read for the first time when it is read again.
        line.erp_custom = {s: told for s, told in line.erp_custom.items() if s in slots}
        for slot, source in slots.items():
            if source == "custom_decimal" and truth.fault == Fault.UNREADABLE_CUSTOM:
                if line.erp_custom.get(slot, (source,))[0] != source:
                    del line.erp_custom[slot]
                continue
            value = truth.custom[source] if source in truth.custom else truth.values[source]
            if slot in line.erp_custom:
                old_source, old = line.erp_custom[slot]
                if old_source == source and old != value:
                    touch.changes.append(_change(slot, old, value))
            line.erp_custom[slot] = source, value
            if slot not in line.by_person:
                outcome.populated += (line.custom.get(slot) or None) != (value or None)
                line.custom[slot] = value


def _in_extract(truth: LineTruth, tonight: Tonight) -> bool:
    """Whether the row is among those that the ERP calls active."""
    if truth.key in tonight.missed:
        return False
    if truth.fault and truth.fault in KEYLESS:
        return truth.values["status"] not in FINAL_CODES
    return truth.presence in ACTIVE


def _is_rejected(truth: LineTruth) -> bool:
    return truth.fault is not None and REJECTED_ROWS[truth.fault] > 0


def _read(truth: LineTruth, reading: Reading) -> dict[str, Value]:
    return {name: truth.values[source] for name, source in reading.sources.items() if name in OURS}


def _receipts(
    line: Line, truth: LineTruth, tonight: Tonight
) -> dict[str, tuple[Decimal, date | None]]:
    """The receipts as they are told; of one that cannot be read what was told last."""
    told: dict[str, tuple[Decimal, date | None]] = {}
    for receipt in truth.receipts:
        if receipt.receipt_id not in tonight.broken_receipts:
            told[receipt.receipt_id] = receipt.quantity, receipt.received_on
        elif receipt.receipt_id in line.receipts:
            told[receipt.receipt_id] = line.receipts[receipt.receipt_id]
    return told


def _quantity(value: Value) -> Decimal:
    assert isinstance(value, Decimal)
    return value


def _change(name: str, previous: Value, new: Value) -> Change:
    difference = None
    if isinstance(previous, Decimal) and isinstance(new, Decimal):
        difference = new - previous
    elif (
        not isinstance(previous, datetime) and isinstance(previous, date) and isinstance(new, date)
    ):
        difference = Decimal((new - previous).days)
    return Change(name, text_of(previous), text_of(new), difference)


def text_of(value: Value) -> str | None:
    """A value in canonical text, as change events have it."""
    if isinstance(value, Decimal):
        return f"{value:.3f}"
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    return value
