"""Makes and drops the suite's database on SQL Server (a pytest plugin, see conftest.py).

mssql-django does that by itself, but for three things: a new database lacks the row versioning that
production has (scripts/sqlserver/create_app_database.sql); pooled connections would keep it from
being dropped; and a server that speaks TDS but knows no ALTER DATABASE would refuse both.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from django.db import DatabaseError, connection
from tenacity import retry, retry_if_exception_type, stop_after_delay

_ROW_VERSIONING = ("READ_COMMITTED_SNAPSHOT ON", "ALLOW_SNAPSHOT_ISOLATION ON")


@pytest.fixture(scope="session", autouse=True)
def _own_database() -> Iterator[None]:
    if connection.vendor != "microsoft":
        yield
        return
    creation: Any = type(connection.creation)
    create = creation._create_test_db

    def create_with_row_versioning(self: Any, *args: Any, **kwargs: Any) -> Any:
        name = create(self, *args, **kwargs)
        _alter(self, name, *_ROW_VERSIONING)
        return name

    # A connection that was just closed may be some moments in going.
    @retry(retry=retry_if_exception_type(DatabaseError), stop=stop_after_delay(20), reraise=True)
    def destroy(self: Any, name: str, verbosity: int) -> None:
        _alter(self, name, "SINGLE_USER WITH ROLLBACK IMMEDIATE")
        with self.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {self.connection.ops.quote_name(name)}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(creation, "_create_test_db", create_with_row_versioning)
        patch.setattr(creation, "_destroy_test_db", destroy)
        yield


def _alter(creation: Any, database: str, *options: str) -> None:
    quoted = creation.connection.ops.quote_name(database)
    for option in options:
        # Babelfish: not supported, and not needed.
        with suppress(DatabaseError), creation.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {quoted} SET {option}")
