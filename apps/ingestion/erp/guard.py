"""Lets only single reads through to the ERP (requirements NFR11, NFR20): the third barrier after
the credential and the connection."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from apps.ingestion.erp.router import ErpWriteRefusedError

# Comments, texts and quoted names: what is inside them is not SQL.
_INERT = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"(?:[^"]|"")*"|\[(?:[^\]]|\]\])*\]""", re.DOTALL
)
_DOLLAR_QUOTE = re.compile(r"\$\w*\$")
_READ = re.compile(r"\s*(SELECT|WITH)\b", re.IGNORECASE)
_FORBIDDEN = re.compile(
    r"\b(INTO|INSERT|UPDATE|DELETE|MERGE|REPLACE\s+INTO|TRUNCATE|CREATE|ALTER|DROP|GRANT|REVOKE|DENY|EXEC|EXECUTE|"
    r"CALL|ATTACH|DETACH|VACUUM|COPY|DO|OPENROWSET|OPENQUERY|OPENDATASOURCE|XP_\w+|SP_\w+)\b",
    re.IGNORECASE,
)
# What Django and the preflight need beside queries; none of them changes data.
_HARMLESS = re.compile(
    r"\s*(BEGIN|PRAGMA\s+(table_info|table_xinfo)\s*\([^;]*\)|"
    r"SET\s+TRANSACTION\s+ISOLATION\s+LEVEL\s+(SNAPSHOT|READ\s+COMMITTED))\s*",
    re.IGNORECASE,
)


def is_read(sql: str) -> bool:
    """Whether the text is one statement that only reads."""
    if _HARMLESS.fullmatch(sql):
        return True
    bare = _INERT.sub(" x ", sql)
    # A quote that is still there was never closed, and PostgreSQL's dollar quotes hide anything:
    # what such a text does cannot be judged.
    if any(mark in bare for mark in ("'", '"', "/*")) or _DOLLAR_QUOTE.search(bare):
        return False
    if ";" in bare.rstrip().removesuffix(";"):
        return False
    return bool(_READ.match(bare)) and not _FORBIDDEN.search(bare)


def read_only(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Execute wrapper for the ERP connection: refuses whatever is not a single read."""
    if many or not is_read(sql):
        raise ErpWriteRefusedError(f"Refused on the ERP connection, which only reads: {sql[:200]}")
    return execute(sql, params, many, context)
