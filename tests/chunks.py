"""A small world in as many chunks as a large one has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from apps.ingestion import (
    batch_reconstruction,
    custom_columns,
    diff_engine,
    line_events,
    snapshot,
    xref,
)
from apps.ingestion.erp import reader

_SIZES = (
    (reader, "FETCH_SIZE"),
    (reader, "_ORDERS_AT_ONCE"),
    (snapshot, "_DELETE_AT_ONCE"),
    (snapshot, "_KEYS_AT_ONCE"),
    (xref, "_LINES_AT_ONCE"),
    (diff_engine, "_LINES_AT_ONCE"),
    (diff_engine, "_KEYS_AT_ONCE"),
    (batch_reconstruction, "_LINES_AT_ONCE"),
    (batch_reconstruction, "_IDS_AT_ONCE"),
    (custom_columns, "_LINES_AT_ONCE"),
    (custom_columns, "_KEYS_AT_ONCE"),
    (line_events, "_LINES_AT_ONCE"),
)


@contextmanager
def chunks_of(size: int) -> Iterator[None]:
    """Inside, nothing is read or written in chunks of more than `size`."""
    with ExitStack() as stack:
        for module, name in _SIZES:
            stack.enter_context(patch.object(module, name, min(size, getattr(module, name))))
        yield
