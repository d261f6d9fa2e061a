"""How far a line has come, as parts that add up to what was ordered (ui.md "Badges"). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Parts of the ordered quantity, each at least 0; `over` is what was delivered beyond it."""

    ordered: Decimal
    delivered: Decimal
    dispatched: Decimal
    ready: Decimal
    rest: Decimal
    over: Decimal

    @classmethod
    def of(
        cls, *, ordered: Decimal, delivered: Decimal, ready: Decimal, dispatched: Decimal = _ZERO
    ) -> Progress:
        """From what was delivered, dispatched and ready so far, in the line's own unit."""
        whole = max(ordered, _ZERO)
        arrived = min(max(delivered, _ZERO), whole)
        under_way = max(min(dispatched, whole) - arrived, _ZERO)
        waiting = max(min(ready, whole) - arrived - under_way, _ZERO)
        return cls(
            ordered=ordered,
            delivered=arrived,
            dispatched=under_way,
            ready=waiting,
            rest=whole - arrived - under_way - waiting,
            over=max(delivered - ordered, _ZERO),
        )
