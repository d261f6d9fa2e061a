"""One night of the simulated ERP: what happens, to whom, in which order."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from apps.demo.books import Books
from apps.demo.habits import Habits
from apps.demo.ledger import (
    CANCELLED_CODE,
    CLOSED_CODES,
    FAULTY_FIELD,
    KEYLESS,
    LADDER,
    REJECTED_ROWS,
    TWINS,
    UNKNOWN_CODE,
    Event,
    Fault,
    Happening,
    Line,
    Night,
)
from apps.demo.opening import LOOKBACK_DAYS

# An application looks at closed lines for a while (recheck_days in erp_mapping.toml), so changes
# after closing happen well within that time.
_LATELY = timedelta(days=50)


class Tonight:
    """The coming night, to be lived once."""

    def __init__(self, books: Books, habits: Habits) -> None:
        self._books = books
        self._habits = habits
        self._active: list[Line] = []
        self._final: list[Line] = []
        self._vanished: list[Line] = []
        self._faulty: list[Line] = []
        for line in books.lines.values():
            if line.fault:
                self._faulty.append(line)
            if not line.in_table:
                self._vanished.append(line)
            elif line.is_final:
                self._final.append(line)
            else:
                self._active.append(line)
        size = len(self._active)
        floor = books.opening_size // 2
        self._may_leave = max(0, min(int(size * habits.max_leaving), size - floor))
        self._may_reject = 0  # reckoned when it is known what is left

    def live(self) -> Night:
        """Goes to the next date. One line may meet with several things on the way."""
        self._books.today += timedelta(days=1)
        self._books.revision += 1
        self._repair()
        self._come_back()
        self._reopen()
        self._reuse_keys()
        self._rename_suppliers()
        self._move()
        self._change_plans()
        self._receive()
        self._correct()
        self._change_closed()
        self._leave()
        self._order()
        self._break()
        return self._books.end_night()

    # Faults

    def _repair(self) -> None:
        for line in self._books.some(self._faulty, self._habits.repair):
            self._repair_line(line)

    def _repair_line(self, line: Line) -> None:
        fault = line.fault
        assert fault is not None
        self._books.repair(line)
        self._books.tell(Happening.REPAIRED, line, FAULTY_FIELD[fault], old=fault)
        self._faulty.remove(line)

    def _break(self) -> None:
        lookback = self._books.today - timedelta(days=LOOKBACK_DAYS)
        extract = [
            line
            for line in self._active
            if line.in_table
            and not line.is_final
            and (line.inserted_on >= lookback or line.outstanding)
        ]
        self._may_reject = int(len(extract) * self._habits.max_rejected)
        # In another order each night, as the first ones may use up the limit.
        for fault in self._books.random.sample(list(Fault), len(Fault)):
            for line in self._books.some(extract, getattr(self._habits, fault)):
                if self._may_break(line, fault):
                    self._books.spoil(line, fault)
                    kind = Happening.DUPLICATED if fault in TWINS else Happening.BROKEN
                    self._books.tell(kind, line, FAULTY_FIELD[fault], new=fault)
                    self._faulty.append(line)
        self._keep_below_limit()

    def _may_break(self, line: Line, fault: Fault) -> bool:
        # An old line may pass the lookback while it is faulty, and nobody could say when.
        recent = (self._books.today - line.inserted_on).days < 600
        if line.fault or not recent or not self._books.is_settled(line):
            return False
        if self._rejected() + REJECTED_ROWS[fault] > self._may_reject:
            return False
        # To whoever reads the ERP a line without its key has left.
        return fault not in KEYLESS or self._spend_leaving()

    def _keep_below_limit(self) -> None:
        """Fewer lines may be active now than when the faults of earlier nights were made."""
        while self._faulty and self._rejected() > self._may_reject:
            self._repair_line(self._faulty[0])

    def _rejected(self) -> int:
        return sum(REJECTED_ROWS[line.fault] for line in self._faulty if line.fault)

    def _spend_leaving(self) -> bool:
        if self._may_leave < 1:
            return False
        self._may_leave -= 1
        return True

    # Coming and going

    def _come_back(self) -> None:
        books = self._books
        for line in books.some(self._vanished, self._habits.come_back):
            books.add_row(line)
            line.supplier_name = books.vendor_of(line).name
            line.settled_since = books.today
            books.tell(Happening.RETURNED, line)
            if books.chance(0.3) and not line.is_final:
                self._receive_line(line)

    def _reopen(self) -> None:
        books = self._books
        for line in books.some(self._final, self._habits.reopen):
            if line.fault:
                continue
            self._set_code(line, LADDER[2], Happening.REOPENED)
            line.supplier_name = books.vendor_of(line).name
            line.settled_since = books.today
            if books.chance(0.5):
                self._set_ordered(line, line.ordered + books.part(line.ordered, 10, 50, line.step))

    def _reuse_keys(self) -> None:
        books = self._books
        for line in books.some([*self._final, *self._vanished], self._habits.reuse):
            gone = line.is_final or not line.in_table
            if not gone or line.fault or not books.is_settled(line):
                continue
            vendor = books.random.choice(books.market.vendors)
            # Another order differs in its insert date, its supplier or both.
            same_day = vendor.code != line.supplier_code and books.chance(0.3)
            article = books.article_of(vendor, unmapped=self._habits.unmapped)
            inserted_on = line.inserted_on if same_day else books.today
            new = books.enter(
                line.po_number, line.number, vendor, article, line.customer, inserted_on
            )
            new.promised_on = books.today + books.days(40, 160)
            new.settled_since = books.today
            books.touch(new)
            books.tell(Happening.REUSED, new)

    def _leave(self) -> None:
        books, habits = self._books, self._habits
        for line in books.some(self._active, habits.cancel):
            self._end(line, CANCELLED_CODE)
        for line in books.some(self._active, habits.close_short):
            if line.outstanding:
                self._end(line, CLOSED_CODES[1])
        full = [line for line in self._active if not (line.forgotten or line.outstanding)]
        for line in books.some(full, habits.close):
            self._end(line, CLOSED_CODES[0])
        for line in books.some(self._active + self._closed_lately(), habits.vanish):
            # A moved line that vanished at once would come back as another order.
            if not line.in_table or line.fault or not books.is_settled(line):
                continue
            if line.is_final or self._spend_leaving():
                books.remove_row(line)
                line.settled_since = books.today
                books.tell(Happening.VANISHED, line)

    def _end(self, line: Line, code: str) -> None:
        if line.is_final or not line.in_table or not self._spend_leaving():
            return
        kind = Happening.CANCELLED if code == CANCELLED_CODE else Happening.CLOSED
        self._set_code(line, code, kind)
        line.closed_on = line.settled_since = self._books.today

    def _closed_lately(self) -> list[Line]:
        since = self._books.today - _LATELY
        lately = [line for line in self._final if line.closed_on > since]
        # Some of them were reopened tonight, or their key belongs to another order now.
        return [line for line in lately if line.is_final and line.in_table]

    def _order(self) -> None:
        books = self._books
        wanted = books.count(len(self._active), self._habits.new_lines)
        while wanted:
            lines = books.order(wanted, books.today, unmapped=self._habits.unmapped)
            wanted -= len(lines)
            for line in lines:
                books.tell(Happening.CREATED, line)
                if books.chance(0.03):
                    self._receive_line(line)

    # Suppliers

    def _rename_suppliers(self) -> None:
        books = self._books
        vendors = books.market.vendors
        for vendor in books.random.sample(vendors, books.count(len(vendors), self._habits.rename)):
            old, vendor.name = vendor.name, books.market.new_name(vendor.name)
            books.events.append(
                Event(
                    Happening.RENAMED, vendor.code, field="supplier_name", old=old, new=vendor.name
                )
            )
            # Closed lines keep the name of their time.
            for line in books.lines.values():
                if line.supplier_code == vendor.code and line.in_table and not line.is_final:
                    line.supplier_name = vendor.name
                    line.revision = books.revision

    def _move(self) -> None:
        books = self._books
        for line in books.some(self._active, self._habits.move):
            vendor = books.random.choice(books.market.vendors)
            if line.fault or vendor.code == line.supplier_code or not books.is_settled(line):
                continue
            old, line.supplier_code = line.supplier_code, vendor.code
            line.supplier_name = vendor.name
            line.settled_since = books.today
            books.touch(line)
            books.tell(Happening.MOVED, line, "supplier_code", old, vendor.code)

    # Plans

    def _change_plans(self) -> None:
        books, habits = self._books, self._habits
        for line in books.some(self._active, habits.slip):
            self._slip(line)
        for line in books.some(self._active, habits.advance_status):
            self._advance_status(line)
        for line in books.some(self._active, habits.unknown_status):
            self._set_code(line, UNKNOWN_CODE, Happening.STATUS)
        for line in books.some(self._active, habits.change_quantity):
            change = books.part(line.ordered, 5, 40, line.step)
            down = books.chance(0.5) and change < line.ordered
            self._set_ordered(line, line.ordered - change if down else line.ordered + change)
        for line in books.some(self._active, habits.change_item):
            self._change_item(line)
        for line in books.some(self._active, habits.change_custom):
            self._change_custom(line)
        for line in books.some(self._active, habits.rewrite):
            books.restyle(line)
            books.tell(Happening.REWRITTEN, line)

    def _slip(self, line: Line) -> None:
        old = line.promised_on
        if old is None:
            line.promised_on = self._books.today + self._books.days(20, 90)
        elif self._books.chance(0.03):
            line.promised_on = None
        elif self._books.chance(self._habits.forward):
            line.promised_on = old - self._books.days(1, 14)
        else:
            line.promised_on = old + self._books.days(2, 35)
        self._books.touch(line)
        self._books.tell(Happening.PROMISED, line, "promised_date", old, line.promised_on)

    def _advance_status(self, line: Line) -> None:
        if line.code == UNKNOWN_CODE:
            code = LADDER[2]
        else:
            step = -1 if self._books.chance(self._habits.backward_status) else 1
            place = LADDER.index(line.code) + step
            code = LADDER[min(max(place, 0), len(LADDER) - 1)]
        self._set_code(line, code, Happening.STATUS)

    def _set_code(self, line: Line, code: str, kind: Happening) -> None:
        if code != line.code:
            old, line.code = line.code, code
            self._books.touch(line)
            self._books.tell(kind, line, "status", old, code)

    def _set_ordered(self, line: Line, ordered: Decimal) -> None:
        old, line.ordered = line.ordered, ordered
        self._books.touch(line)
        self._books.tell(Happening.QUANTITY, line, "ordered_quantity", old, ordered)

    def _change_item(self, line: Line) -> None:
        vendor = self._books.vendor_of(line)
        article = self._books.article_of(vendor, unmapped=0.25)
        if article.code != line.item_code:
            old, line.item_code = line.item_code, article.code
            line.family, line.own_sku = article.family, article.own_sku
            self._books.touch(line)
            self._books.tell(Happening.ITEM, line, "item_code", old, article.code)

    def _change_custom(self, line: Line) -> None:
        if line.fault == Fault.UNREADABLE_CUSTOM:
            return
        books = self._books
        column = books.random.choice(("custom_date", "custom_text", "custom_decimal"))
        old = getattr(line, column)
        if column == "custom_date":
            line.custom_date = (
                None if old and books.chance(0.2) else books.today + books.days(1, 60)
            )
        elif column == "custom_text":
            line.custom_text = "" if old and books.chance(0.2) else f"T{books.revision} 备注"
        else:
            empty = old is not None and books.chance(0.2)
            line.custom_decimal = None if empty else books.part(line.ordered, 1, 30, line.step)
        new = getattr(line, column)
        if new != old:
            books.touch(line)
            books.tell(Happening.CUSTOM, line, column, old, new)

    # Goods

    def _receive(self) -> None:
        books, habits = self._books, self._habits
        soon = books.today + timedelta(days=14)
        waiting = [line for line in self._active if line.outstanding]
        due = [line for line in waiting if line.promised_on is None or line.promised_on <= soon]
        wanted = books.count(len(self._active), habits.receipt)
        # Now and then something arrives that nobody expected yet.
        early = min(wanted // 10, len(waiting))
        lines = books.random.sample(due, min(wanted - early, len(due)))
        lines += books.random.sample(waiting, early)
        for line in lines:
            self._receive_line(line)
            if books.chance(habits.second_receipt):
                self._receive_line(line)
            if not line.outstanding and books.chance(habits.close_at_once):
                self._end(line, CLOSED_CODES[0])
        for line in books.some(self._active, habits.unexplained):
            old = line.delivered
            line.unexplained += books.part(line.ordered, 1, 10, line.step)
            books.touch(line)
            self._tell_delivered(Happening.UNEXPLAINED, line, old)

    def _receive_line(self, line: Line) -> None:
        books, habits = self._books, self._habits
        open_quantity = line.outstanding or line.step
        if books.chance(habits.partial):
            quantity = books.part(open_quantity, 20, 60, line.step)
        elif books.chance(habits.over_delivery):
            quantity = open_quantity + books.part(line.ordered, 1, 5, line.step)
        else:
            quantity = open_quantity
        received_on = books.today
        if books.chance(habits.misdated):
            received_on += books.days(1, 3) if books.chance(0.2) else -books.days(1, 20)
        old = line.delivered
        receipt = books.receive(line, quantity, received_on)
        books.touch(line)
        books.tell(
            Happening.RECEIPT, line, "delivered_quantity", old, line.delivered, receipt=receipt
        )

    def _correct(self) -> None:
        habits = self._habits
        delivered = [line for line in self._active if line.receipts]
        # The rates speak of all active lines, the pool is only those with receipts.
        for line in self._pick(delivered, habits.correction):
            self._correct_line(line)
        for line in self._pick(delivered, habits.redate):
            self._redate_line(line)

    def _pick(self, pool: list[Line], rate: float) -> list[Line]:
        wanted = self._books.count(len(self._active), rate)
        return self._books.random.sample(pool, min(wanted, len(pool)))

    def _correct_line(self, line: Line) -> None:
        """Less was delivered than was said: the last receipt shrinks or is deleted, or the total
        is lowered and no receipt tells."""
        if not line.receipts:
            return
        books = self._books
        old = line.delivered
        *others, last = line.receipts
        less = books.part(last.quantity, 5, 60, line.step)
        way = books.random.random()
        if less >= last.quantity or way < 0.3:
            line.receipts = tuple(others)
            line.in_date = others[-1].received_on if others else None
        elif way < 0.8:
            line.receipts = (*others, last._replace(quantity=last.quantity - less))
        else:
            line.unexplained -= less
        books.touch(line)
        self._tell_delivered(Happening.CORRECTION, line, old)

    def _redate_line(self, line: Line) -> None:
        if not line.receipts:
            return
        books = self._books
        *others, last = line.receipts
        last = last._replace(received_on=last.received_on - books.days(1, 6))
        line.receipts = (*others, last)
        old, line.in_date = line.in_date, last.received_on
        books.touch(line)
        books.tell(Happening.REDATED, line, "in_date", old, line.in_date, receipt=last)

    def _change_closed(self) -> None:
        for line in self._books.some(self._closed_lately(), self._habits.change_closed):
            if self._books.chance(0.5):
                self._correct_line(line)
            else:
                self._receive_line(line)

    def _tell_delivered(self, kind: Happening, line: Line, old: Decimal) -> None:
        self._books.tell(kind, line, "delivered_quantity", old, line.delivered)
