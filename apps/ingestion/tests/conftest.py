"""What the tests of the ingestion share."""

from pathlib import Path

import pytest

from apps.ingestion.tests.erp_table import ErpTable


@pytest.fixture
def erp(tmp_path: Path, db: None) -> ErpTable:
    """An empty ERP, and an empty application database."""
    return ErpTable(tmp_path / "erp.sqlite3")
