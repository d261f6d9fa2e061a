"""The simulated ERP lives as it promises, and its file says what its truth says."""

from __future__ import annotations

import copy
import hashlib
import os
import pickle
import sqlite3
import subprocess
import sys
import tomllib
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from apps.demo.habits import Habits
from apps.demo.ledger import Fault, Happening, Key, Value
from apps.demo.sqlite_erp import CUSTOM_COLUMNS
from apps.demo.truth import Truth
from apps.demo.world import FIRST_DAY, World

PROJECT = Path(__file__).resolve().parents[3]
THOUSANDTH = Decimal("0.001")

Fields = dict[str, Value]


def lived(nights: int, *, seed: int = 1, lines: int = 60, habits: Habits | None = None) -> World:
    world = World(seed=seed, lines=lines, habits=habits or Habits.busy())
    for _ in range(nights):
        world.live_one_night()
    return world


def dump(world: World) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)
        return table_rows(connection)


def table_rows(connection: sqlite3.Connection) -> list[str]:
    """Both tables, in an order that does not depend on how the rows came in."""
    rows = [repr(row) for row in connection.execute("SELECT * FROM PUR_LINE")]
    rows += [repr(row) for row in connection.execute("SELECT * FROM GR_POST")]
    return sorted(rows)


class Reader:
    """Reads the file by its mapping alone, as barely as can be."""

    def __init__(self, mapping: str) -> None:
        self.mapping = tomllib.loads(mapping)
        self.zone = ZoneInfo(self.mapping["values"]["time_zone"])
        self.no_dates = set(self.mapping["values"]["null_dates"])

    def extract(self, connection: sqlite3.Connection) -> tuple[dict[Key, Fields], list[list[Any]]]:
        """The usable rows that are not closed, by key, and the others as they are."""
        columns = self.mapping["lines"]["columns"]
        table = self.mapping["lines"]["table"]
        closed = self.mapping["lines"]["active"]["closed_statuses"]
        good: dict[Key, list[tuple[Fields, list[Any]]]] = defaultdict(list)
        bad = []
        for row in connection.execute(f"SELECT {', '.join(columns.values())} FROM {table}"):
            raw = dict(zip(columns, row, strict=True))
            if raw["status"].rstrip() in closed:
                continue
            try:
                fields = {name: self.canonical(name, cell) for name, cell in raw.items()}
            except (ValueError, ArithmeticError):
                bad.append(list(row))
            else:
                good[str(fields["po_number"]), str(fields["line_number"])].append((fields, row))
        usable = {}
        for key, found in good.items():
            if all(fields == found[0][0] for fields, _ in found):
                usable[key] = found[0][0]
            else:
                bad += [row for _, row in found]
        return usable, bad

    def canonical(self, name: str, cell: Any) -> Value:
        if name.endswith("quantity"):
            return self.number(cell)
        if name.endswith("date"):
            return self.day(cell)
        if name == "updated_at":
            return datetime.fromisoformat(cell).replace(tzinfo=self.zone).astimezone(UTC)
        text = "" if cell is None else str(cell).rstrip()
        if not text and name in {"po_number", "line_number"}:
            raise ValueError("no key")
        return text

    def number(self, cell: Any) -> Decimal:
        if not isinstance(cell, int | float):
            raise ValueError(f"no number: {cell!r}")
        return Decimal(str(cell)).quantize(THOUSANDTH)

    def day(self, cell: str | None) -> date | None:
        if cell is None or cell[:10] in self.no_dates:
            return None
        return datetime.fromisoformat(cell).date()


def not_aged(truth: Truth, rows: dict[Key, Fields]) -> dict[Key, Fields]:
    return {key: row for key, row in rows.items() if truth.line(key).presence != "aged_out"}


# The same history, always


@pytest.mark.process
def test_the_same_seed_gives_the_same_history_whatever_the_hash_seed() -> None:
    script = (
        "from apps.demo.tests.test_world import dump, lived\n"
        "import hashlib\n"
        "print(hashlib.sha256('\\n'.join(dump(lived(12))).encode()).hexdigest())\n"
    )
    here = hashlib.sha256("\n".join(dump(lived(12))).encode()).hexdigest()
    for hash_seed in ("1", "2"):
        answer = subprocess.run(
            [sys.executable, "-c", script],
            cwd=PROJECT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert answer.stdout.strip() == here


def test_another_seed_gives_another_history() -> None:
    assert dump(lived(3, seed=1)) != dump(lived(3, seed=2))


def test_a_copy_goes_on_as_its_original_does() -> None:
    world = lived(4)
    copies = [copy.deepcopy(world), pickle.loads(pickle.dumps(world))]  # noqa: S301  # our own bytes
    expected = world.live_one_night()
    for other in copies:
        assert other.live_one_night() == expected
        assert dump(other) == dump(world)


# The file and the truth


@pytest.mark.parametrize("seed", range(6))
def test_the_file_says_what_the_truth_says(seed: int) -> None:
    world = World(seed=seed, lines=60, habits=Habits.busy())
    reader = Reader(world.mapping_toml())
    with closing(sqlite3.connect(":memory:")) as connection:
        for _ in range(15):
            world.live_one_night()
            world.save_into(connection)
            truth = world.truth
            rows, bad = reader.extract(connection)
            assert not_aged(truth, rows) == {
                key: line.values for key, line in truth.accepted().items()
            }
            active = [row for row in truth.rejected() if row.active]
            assert Counter(bad_key(row) for row in bad) == Counter(
                (row.po_number, row.line_number) for row in active
            )


def bad_key(row: list[Any]) -> Key:
    po_number, number = row[:2]
    return (po_number or "").rstrip(), "" if number is None else str(number)


def test_the_file_has_every_line_that_is_there_and_no_other() -> None:
    world = lived(15, lines=200)
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)
        stored = connection.execute("SELECT ORD_NO, LN, ST FROM PUR_LINE").fetchall()
    whole = {
        (po.rstrip(), str(ln)): st.rstrip() for po, ln, st in stored if (po or "").strip() and ln
    }
    there = {
        line.key: line.values["status"] for line in world.truth.lines() if line.presence != "absent"
    }
    assert whole == there
    assert {"closed", "cancelled", "aged_out", "present"} <= {
        line.presence for line in world.truth.lines()
    }


def test_the_receipts_and_what_they_leave_unexplained_add_up_to_delivered() -> None:
    world = lived(20, lines=120)
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)
        stored: dict[Key, Decimal] = defaultdict(Decimal)
        for po_number, number, quantity in connection.execute(
            "SELECT ORD_NO, LN, GR_QTY FROM GR_POST"
        ):
            stored[po_number.rstrip(), str(number)] += Decimal(str(quantity))
    explained = 0
    for line in world.truth.lines():
        received = sum((receipt.quantity for receipt in line.receipts), Decimal(0))
        assert stored[line.key] == received
        assert received + line.unexplained == line.values["delivered_quantity"]
        explained += bool(line.receipts)
    assert explained > 20


def test_the_events_of_a_line_lead_from_its_first_values_to_its_last() -> None:
    world = World(seed=3, lines=80, habits=Habits.busy())
    told = ("promised_date", "ordered_quantity", "delivered_quantity", "status", "item_code")
    first = {line.key: line.values for line in world.truth.lines()}
    for _ in range(20):
        world.live_one_night()
    changes = 0
    for key, values in first.items():
        now = {name: values[name] for name in told}
        for day, event in world.truth.events(key):
            assert FIRST_DAY < day <= world.today
            is_change = event.kind not in {
                Happening.BROKEN,
                Happening.DUPLICATED,
                Happening.REPAIRED,
            }
            if event.generation == 1 and event.field in told and is_change:
                assert now[event.field] == event.old
                now[event.field] = event.new
                changes += 1
        line = next(
            line
            for line in (*world.truth.former(), world.truth.line(key))
            if (line.key, line.generation) == (key, 1)
        )
        assert {name: line.values[name] for name in told} == now
    assert changes > 200


def test_a_saved_file_equals_one_written_anew(tmp_path: Path) -> None:
    world = World(seed=5, lines=80, habits=Habits.busy())
    path = tmp_path / "erp.sqlite3"
    for night in range(12):
        world.live_one_night()
        if night % 3 != 1:  # a night now and then is not saved
            world.save(path)
            with closing(sqlite3.connect(path)) as connection:
                assert table_rows(connection) == dump(world)


def test_saving_over_the_file_of_another_world_writes_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "erp.sqlite3"
    lived(3, seed=8).write(path)
    world = lived(3, seed=9)
    world.save(path)
    with closing(sqlite3.connect(path)) as connection:
        assert table_rows(connection) == dump(world)


def test_quantities_in_grams_come_back_exactly() -> None:
    world = World(seed=1, lines=400)
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)
        rows, _ = Reader(world.mapping_toml()).extract(connection)
    grams = [row for row in rows.values() if row["ordered_quantity"] % 1]  # type: ignore[operator]  # a quantity
    assert len(grams) > 20
    for row in grams:
        key = str(row["po_number"]), str(row["line_number"])
        assert row["ordered_quantity"] == world.truth.line(key).values["ordered_quantity"]


def test_the_file_looks_like_that_of_an_old_erp() -> None:
    world = World(seed=1, lines=300)
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)

        def column(name: str) -> set[Any]:
            return {cell for (cell,) in connection.execute(f"SELECT {name} FROM PUR_LINE")}

        assert {len(order) for order in column("ORD_NO")} == {12}
        assert {len(item) for item in column("ITEM_CD")} == {20}
        assert {len(code) for code in column("ST")} == {3}
        for name in ("CUST_NM", "ITEM_FAM"):
            assert {None, "", "   "} < column(name)
        assert {None, "1900-01-01 00:00:00", "9999-12-31 00:00:00"} < column("DT_IN")
        assert len({stamp[11:] for stamp in column("DT_INS")}) > 100
        assert any(not name.isascii() for name in column("VEND_NM") if name)


def test_a_rewritten_row_means_the_same_as_before() -> None:
    world = World(seed=1, lines=100, habits=Habits.only(rewrite=0.5))
    before, rows = [line.values for line in world.truth.lines()], dump(world)
    night = world.live_one_night()
    assert {event.kind for event in night.events} == {Happening.REWRITTEN}
    assert [line.values for line in world.truth.lines()] == before
    assert dump(world) != rows


# Habits


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_sixty_ordinary_nights_everything_happens(seed: int) -> None:
    world = World(seed=seed, lines=500)
    seen: Counter[str] = Counter()
    for _ in range(60):
        night = world.live_one_night()
        seen.update(event.kind for event in night.events)
        seen.update(event.new for event in night.events if isinstance(event.new, Fault))
        seen.update(details(world, night.events))
    wanted = {*Happening, *Fault, *DETAILS}
    assert not wanted - set(seen), f"did not happen: {wanted - set(seen)}"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_forty_busy_nights_of_a_small_world_everything_happens(seed: int) -> None:
    world = lived(40, seed=seed, lines=60)
    events = [event for night in world.nights for event in night.events]
    seen = {event.kind for event in events}
    faults = {event.new for event in events if isinstance(event.new, Fault)}
    assert seen == set(Happening)
    assert faults == set(Fault)


DETAILS = (
    "slip forward",
    "slip later",
    "quantity up",
    "quantity down",
    "two receipts of a line",
    "partial receipt",
    "over-delivery",
    "closed with its last receipt",
    "closed without one",
    "changed after closing",
    "receipt not dated today",
)


def details(world: World, events: tuple[Any, ...]) -> list[str]:
    receipts = Counter(event.key for event in events if event.kind is Happening.RECEIPT)
    found = []
    for event in events:
        later = event.new > event.old if event.old and event.new else None
        match event.kind:
            case Happening.PROMISED if later is not None:
                found.append("slip later" if later else "slip forward")
            case Happening.QUANTITY:
                found.append("quantity up" if later else "quantity down")
            case Happening.CLOSED:
                found.append(
                    "closed with its last receipt"
                    if event.key in receipts
                    else "closed without one"
                )
            case Happening.RECEIPT:
                line = world.truth.line(event.key)
                ordered = line.values["ordered_quantity"]
                if receipts[event.key] == 2:
                    found.append("two receipts of a line")
                found.append("partial receipt" if event.new < ordered else "over-delivery")
                if event.new == ordered:
                    found[-1] = "final receipt"
                if event.receipt.received_on != world.today:
                    found.append("receipt not dated today")
                if line.presence == "closed" and not closed_tonight(event, events):
                    found.append("changed after closing")
    return found


def closed_tonight(event: Any, events: tuple[Any, ...]) -> bool:
    return any(e.kind is Happening.CLOSED and e.key == event.key for e in events)


def test_ordinary_nights_change_three_percent_and_break_few_rows() -> None:
    world = World(seed=1, lines=5000)
    before = world.truth.accepted()
    assert len(before) == 5000
    for _ in range(6):
        world.live_one_night()
        now = world.truth.accepted()
        changed = sum(
            now[key].values | {"supplier_name": ""} != line.values | {"supplier_name": ""}
            for key, line in before.items()
            if key in now
        )
        assert 0.02 < changed / len(before) < 0.04
        assert len(now) > 0.9 * len(before)
        assert len(world.truth.rejected()) < 0.01 * len(now)
        before = now


@pytest.mark.parametrize("lines", [20, 25, 40, 60, 200])
def test_no_night_of_a_small_busy_world_would_be_refused(lines: int) -> None:
    for seed in range(5):
        world = World(seed=seed, lines=lines, habits=Habits.busy())
        for _ in range(30):
            before = len(world.truth.accepted())
            world.live_one_night()
            accepted, rejected = len(world.truth.accepted()), len(world.truth.rejected())
            assert accepted >= 0.7 * before
            assert rejected <= 0.05 * (accepted + rejected)
        assert accepted >= lines // 2 - 2


def test_however_many_want_to_leave_a_tenth_goes_at_once_and_half_stays() -> None:
    world = World(seed=1, lines=100, habits=Habits.only(cancel=1, vanish=1, close=1))
    for _ in range(15):
        before = len(world.truth.accepted())
        world.live_one_night()
        assert before - len(world.truth.accepted()) <= 0.1 * (before + 1)
    assert 49 <= len(world.truth.accepted()) <= 51


def test_faults_are_repaired_when_too_few_whole_lines_are_left_for_them() -> None:
    world = World(seed=1, lines=200, habits=Habits.only(text_quantity=1, repair=0))
    world.live_one_night()
    assert len(world.truth.rejected()) == 8
    world.habits = Habits.only(cancel=1, repair=0)
    for _ in range(15):
        night = world.live_one_night()
        accepted, rejected = len(world.truth.accepted()), len(world.truth.rejected())
        assert rejected <= 0.04 * (accepted + rejected + 1)
    assert night.of(Happening.CANCELLED) == []
    assert 0 < rejected < 8


def test_calm_nights_have_no_faults() -> None:
    world = World(seed=1, lines=500, habits=Habits.calm())
    for _ in range(30):
        night = world.live_one_night()
        assert not night.of(Happening.BROKEN, Happening.DUPLICATED)
        assert not world.truth.rejected()
    assert len(world.nights) == 30
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)
        rows, bad = Reader(world.mapping_toml()).extract(connection)
        assert not bad
        assert not_aged(world.truth, rows).keys() == world.truth.accepted().keys()


def test_only_what_is_named_happens() -> None:
    world = World(seed=1, lines=100, habits=Habits.only(receipt=0.2, partial=1))
    world.live_one_night()
    events = world.nights[0].events
    assert len(events) >= 20
    assert {event.kind for event in events} == {Happening.RECEIPT}


def test_what_is_broken_is_repaired_and_nothing_of_it_is_lost() -> None:
    world = lived(10, lines=200)
    faulty = [key for fault in Fault for key in world.truth.faulty(fault)]
    meant = {key: world.truth.line(key).values for key in faulty}
    world.habits = Habits.only(repair=1)
    night = world.live_one_night()
    assert {event.key for event in night.of(Happening.REPAIRED)} == set(faulty) != set()
    assert {key: world.truth.line(key).values for key in faulty} == meant
    assert not world.truth.rejected()


def test_an_unknown_status_code_appears_where_it_is_asked_for() -> None:
    world = World(seed=1, lines=100, habits=Habits.only(unknown_status=0.1))
    world.live_one_night()
    codes = Counter(line.values["status"] for line in world.truth.accepted().values())
    assert codes["H"] >= 8
    assert "H" not in Reader(world.mapping_toml()).mapping["lines"]["status_map"]


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_that_is_none_is_refused_by_name(share: float) -> None:
    with pytest.raises(ValueError, match=r"Habits\.receipt"):
        Habits(receipt=share)


def test_a_world_without_lines_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        World(seed=1, lines=0)


# What an application can tell apart


def test_a_key_is_used_again_only_after_its_order_was_seen_gone() -> None:
    reused = 0
    for seed in range(8):
        world = World(seed=seed, lines=60, habits=Habits.busy())
        for _ in range(25):
            before = {line.key: line for line in world.truth.lines()}
            night = world.live_one_night()
            for event in night.of(Happening.REUSED):
                reused += 1
                assert event.key
                old, new = before[event.key], world.truth.line(event.key)
                assert old.presence in {"closed", "cancelled", "absent"}
                assert old.fault is None
                assert new.generation == old.generation + 1
                assert (old.values["po_insert_date"], old.values["supplier_code"]) != (
                    new.values["po_insert_date"],
                    new.values["supplier_code"],
                )
                assert old.key in {line.key for line in world.truth.former()}
    assert reused > 10


def test_a_line_that_comes_back_has_its_supplier_and_its_insert_date() -> None:
    came_back = 0
    for seed in range(8):
        world = World(seed=seed, lines=60, habits=Habits.busy())
        gone: dict[Key, tuple[int, Value, Value]] = {}
        for _ in range(25):
            world.live_one_night()
            for line in world.truth.lines():
                marks = (
                    line.generation,
                    line.values["po_insert_date"],
                    line.values["supplier_code"],
                )
                if line.presence in {"closed", "cancelled", "absent"}:
                    gone.setdefault(line.key, marks)
                elif line.key in gone:
                    left = gone.pop(line.key)
                    if left[0] == line.generation:
                        came_back += 1
                        assert left == marks
    assert came_back > 20


def test_a_line_moves_only_while_it_is_seen() -> None:
    moved = 0
    for seed in range(8):
        world = World(seed=seed, lines=60, habits=Habits.busy())
        for _ in range(25):
            before = {line.key: line for line in world.truth.lines()}
            for event in world.live_one_night().of(Happening.MOVED):
                moved += 1
                assert event.key
                assert before[event.key].presence in {"present", "aged_out"}
                assert before[event.key].fault is None
                assert event.supplier_code == event.new != event.old
    assert moved > 10


def test_lines_pass_the_lookback_in_the_nights_to_come() -> None:
    world = World(seed=1, lines=2000, habits=Habits.only())
    aged = [line.key for line in world.truth.lines() if line.presence == "aged_out"]
    for _ in range(40):
        world.live_one_night()
    later = [line.key for line in world.truth.lines() if line.presence == "aged_out"]
    assert set(aged) < set(later)


# Cross-reference and mapping


def test_the_cross_reference_leaves_gaps_that_can_be_closed() -> None:
    world = lived(10, lines=200)
    entries = {(entry.supplier_code, entry.item_code) for entry in world.xref_entries()}
    gaps = world.truth.unmapped()
    assert gaps
    for supplier_code, item_code in gaps:
        assert not entries & {(supplier_code, item_code), (None, item_code)}
    new = world.close_gaps(2)
    assert {
        (entry.supplier_code, entry.item_code) for entry in new
    } == gaps - world.truth.unmapped()
    assert set(new) <= set(world.xref_entries())


def test_a_suppliers_own_entry_goes_before_the_one_for_any_supplier() -> None:
    world = World(seed=1, lines=500)
    entries = {(entry.supplier_code, entry.item_code): entry for entry in world.xref_entries()}
    both = 0
    for line in world.truth.lines():
        supplier_code, item_code = line.values["supplier_code"], line.values["item_code"]
        own = entries.get((str(supplier_code), str(item_code)))
        general = entries.get((None, str(item_code)))
        entry = own or general
        assert line.unmapped is (entry is None)
        assert line.sku == (entry.sku if entry else line.values["sku"])
        both += own is not None and general is not None
    assert both


def test_the_names_are_those_of_the_suppliers_with_active_lines() -> None:
    world = lived(20, lines=200)
    names = world.truth.supplier_names()
    assert any(night.of(Happening.RENAMED) for night in world.nights)
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)
        rows, _ = Reader(world.mapping_toml()).extract(connection)
    stored = {
        (row["supplier_code"], row["supplier_name"]) for row in not_aged(world.truth, rows).values()
    }
    assert stored == set(names.items())


@pytest.mark.parametrize("receipts", [False, True])
def test_the_mapping_names_tables_and_columns_that_the_file_has(receipts: bool) -> None:
    world = World(seed=1, lines=20)
    mapping = tomllib.loads(world.mapping_toml(receipts=receipts))
    assert ("deliveries" in mapping) is receipts
    with closing(sqlite3.connect(":memory:")) as connection:
        world.write_into(connection)
        for part in {"lines", "deliveries"} & mapping.keys():
            columns = mapping[part]["columns"].values()
            connection.execute(f"SELECT {', '.join(columns)} FROM {mapping[part]['table']}")
        slots = ", ".join(column for _, column in CUSTOM_COLUMNS.values())
        connection.execute(f"SELECT {slots} FROM PUR_LINE")
