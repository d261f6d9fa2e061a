"""How much happens in the simulated ERP in one night."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from apps.demo.ledger import Fault


@dataclass(frozen=True, kw_only=True)
class Habits:
    """Shares between 0 and 1. Those of one night say how many of a group something happens to; the
    count is rounded at random so that it is right in the long run, in small worlds as well.

    The defaults make an ordinary company: about 3% of the active lines change in a night, about
    0.2% of the rows are broken. Raises ValueError for a share outside 0 to 1.
    """

    # Of the active lines, in one night
    new_lines: float = 0.008  # new ones, in orders of one to eight lines
    slip: float = 0.010  # another promised date, later or earlier
    receipt: float = 0.011  # one or two receipts, of lines that are nearly due
    advance_status: float = 0.008  # the next status code
    change_quantity: float = 0.002  # ordered quantity up or down
    change_item: float = 0.0004  # another item code
    change_custom: float = 0.002  # one of the columns meant for custom slots
    rewrite: float = (
        0.001  # the same values stored another way: NULL for empty, another time of day
    )
    correction: float = 0.0006  # delivered quantity downward
    redate: float = 0.0004  # the last receipt gets another date
    unexplained: float = 0.0003  # delivered quantity upward without a receipt
    move: float = 0.0002  # another supplier
    cancel: float = 0.0006
    close_short: float = 0.0004  # closed although something is outstanding
    vanish: float = 0.0004  # the row is deleted; recently closed lines as well
    unknown_status: float = 0.0  # a status code that the mapping does not know

    # Of smaller groups, in one night
    close: float = 0.2  # of the fully delivered lines
    reopen: float = 0.0004  # of the closed and cancelled lines
    reuse: float = 0.0004  # of the closed, cancelled and vanished lines: key given to another order
    change_closed: float = 0.005  # of the lines closed lately: a correction or a late receipt
    come_back: float = 0.2  # of the vanished lines
    rename: float = 0.004  # of the suppliers
    repair: float = 0.5  # of the faulty lines

    # Faults: of the active lines, in one night. Each is repaired on a later night.
    text_quantity: float = 0.00015
    missing_quantity: float = 0.00015
    broken_date: float = 0.00015
    blank_order: float = 0.00015  # PO number blank
    blank_line: float = 0.00015  # line number NULL
    duplicate: float = 0.00015  # a second row, identical
    conflicting_duplicate: float = 0.00015  # a second row that says something else
    unreadable_custom: float = 0.00015

    # Of the happenings named
    forward: float = 0.15  # of the slips: to an earlier date
    partial: float = 0.35  # of the receipts: leaves something outstanding
    over_delivery: float = 0.06  # of the receipts that leave nothing: more than ordered
    second_receipt: float = 0.08  # of the receipts: another one in the same night
    misdated: float = 0.08  # of the receipts: not dated today
    close_at_once: float = 0.15  # of the last receipts: the line is closed in the same night
    backward_status: float = 0.05  # of the status codes: backward instead
    unmapped: float = 0.04  # of the new lines: an item code without cross-reference

    # Limits, so that no night is refused by accident: a fault or a leaving beyond them waits
    max_rejected: float = 0.04  # rows to reject, of the active rows; below 1/0.04 lines: none
    max_leaving: float = 0.10  # of the active lines in one night; never below half the first size

    def __post_init__(self) -> None:
        for field in fields(self):
            share = getattr(self, field.name)
            if not 0 <= share <= 1:
                raise ValueError(f"Habits.{field.name} is {share}: give a share between 0 and 1.")

    @classmethod
    def calm(cls) -> Self:
        """Ordinary nights in which every row is well-formed and stands once."""
        return cls(**dict.fromkeys(FAULT_RATES, 0.0))

    @classmethod
    def only(cls, **shares: float) -> Self:
        """Nothing happens but what is named, for example `only(receipt=0.5, partial=1)`.

        Faults, where named, are repaired as usual.
        """
        return cls(**(dict.fromkeys((*NIGHTLY_RATES, *FAULT_RATES), 0.0) | shares))

    @classmethod
    def busy(cls) -> Self:
        """For small worlds: in 20 to 200 lines everything happens within a few nights."""
        rates = dict.fromkeys(NIGHTLY_RATES, 0.03) | dict.fromkeys(FAULT_RATES, 0.01)
        often = {"new_lines": 0.06, "receipt": 0.12, "slip": 0.06, "close": 0.3, "come_back": 0.3}
        seldom = {"unknown_status": 0.005}
        shares = {"second_receipt": 0.2, "misdated": 0.2, "repair": 0.4}
        return cls(**(rates | often | seldom | shares))


NIGHTLY_RATES = (
    "new_lines",
    "slip",
    "receipt",
    "advance_status",
    "change_quantity",
    "change_item",
    "change_custom",
    "rewrite",
    "correction",
    "redate",
    "unexplained",
    "move",
    "cancel",
    "close_short",
    "vanish",
    "unknown_status",
    "close",
    "reopen",
    "reuse",
    "change_closed",
    "come_back",
    "rename",
)
FAULT_RATES = tuple(fault.value for fault in Fault)
