"""Model fields that every app needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _Text = models.CharField[str, str]
else:
    _Text = models.CharField  # generic in its types only

# Of all collations the one that compares code points, on every server since SQL Server 2008.
EXACT_ON_SQL_SERVER = "Latin1_General_100_BIN2"


class KeyField(_Text):
    """A text that identifies something in the ERP: compared to the last character everywhere.

    SQLite and PostgreSQL do so by themselves; on SQL Server, whose usual collations take "ab" and
    "AB" for one, the column gets a binary collation (rules.md "Text and keys"). SQL Server refuses
    to compare columns of two collations, so what is joined by a key is a KeyField on both sides.
    """

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters = super().db_parameters(connection)
        if connection.vendor == "microsoft":
            parameters["collation"] = EXACT_ON_SQL_SERVER
        return parameters
