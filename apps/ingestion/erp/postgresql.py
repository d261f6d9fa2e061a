"""Dates of a PostgreSQL ERP that Python has no words for. Imported only where psycopg is needed."""

from __future__ import annotations

from typing import Any

from psycopg import DataError
from psycopg.pq import Format

# A time of day may be 24:00 there.
_KINDS = ("date", "timestamp", "timestamptz", "time", "timetz")


def take_dates_as_they_are(connection: Any) -> None:
    """Has "infinity" and years outside of Python's calendar come as the server's text.

    psycopg raises for them while it fetches, and the whole night would end for one row; a text is
    judged with its row, like any value that is no date. `connection` is psycopg's own.
    """
    adapters = connection.adapters
    for kind in _KINDS:
        oid = adapters.types[kind].oid
        known = adapters.get_loader(oid, Format.TEXT)
        # Django looks at the time zone of what reads moments, and replaces it where it differs.
        zone = getattr(known, "timezone", None)
        lenient = type("LenientLoader", (_Lenient,), {"known": known, "timezone": zone})
        adapters.register_loader(oid, lenient)


class _Lenient:
    """psycopg's loader for a type, and the text where that one gives up."""

    format = Format.TEXT
    known: Any

    def __init__(self, oid: int, connection: Any = None) -> None:
        self._known = self.known(oid, connection)

    def load(self, data: Any) -> Any:
        try:
            return self._known.load(data)
        except DataError:
            return bytes(data).decode()
