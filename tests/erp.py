"""Points the product at an ERP for the length of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from django.db import connections
from django.test import override_settings

from apps.ingestion.erp.router import ERP_ALIAS
from po_tracking.databases import erp_database


@contextmanager
def use_erp(database: Path | str, mapping: Path | str) -> Iterator[None]:
    """The ERP is this SQLite file (or address), read through this mapping (a file, or its text)."""
    url = database if isinstance(database, str) else f"sqlite:///{database.as_posix()}"
    with TemporaryDirectory() as folder:
        if isinstance(mapping, str):
            mapping_file = Path(folder) / "erp_mapping.toml"
            mapping_file.write_text(mapping, encoding="utf-8")
        else:
            mapping_file = mapping
        connections.settings[ERP_ALIAS] = connections.configure_settings(
            {"default": {}, ERP_ALIAS: erp_database(url)}
        )[ERP_ALIAS]
        _allow_connecting()
        try:
            with override_settings(ERP_MAPPING_FILE=str(mapping_file)):
                yield
        finally:
            connections[ERP_ALIAS].close()
            del connections[ERP_ALIAS]
            del connections.settings[ERP_ALIAS]


def _allow_connecting() -> None:
    """Django's test cases forbid connections that they do not wrap in a transaction; the ERP is
    none of theirs."""
    connection = connections[ERP_ALIAS]

    def ensure_connection() -> None:
        if connection.connection is None:
            with connection.wrap_database_errors:
                connection.connect()

    connection.ensure_connection = ensure_connection  # type: ignore[method-assign]  # for the test
