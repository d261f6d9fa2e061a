"""Names of the ERP's tables and columns, as an administrator writes them, and their quoted form."""

from __future__ import annotations

import re

from django.db.backends.base.base import BaseDatabaseWrapper

_PART = re.compile(r'\[((?:[^\]]|\]\])+)\]|"((?:[^"]|"")+)"|([^.\[\]"]+)')


def parse_table_name(name: str) -> list[str]:
    """The parts of `dbo.Lines`, `[dbo].[PO Lines]` or `"schema"."Table"`. Raises ValueError."""
    parts = []
    position = 0
    while True:
        match = _PART.match(name, position)
        if match is None or not match.group().strip():
            raise ValueError(f'"{name}" is not a table name like dbo.Lines or [dbo].[PO Lines]')
        parts.append(_meant(match))
        position = match.end()
        if position == len(name):
            return parts
        if name[position] != ".":
            raise ValueError(f'"{name}" is not a table name like dbo.Lines or [dbo].[PO Lines]')
        position += 1


def parse_column_name(name: str) -> str:
    """What `[PO Number]` or `"PO Number"` means. All else is a name as it stands, dots and all."""
    match = _PART.fullmatch(name)
    return name if match is None or match[3] else _meant(match)


def _meant(match: re.Match[str]) -> str:
    """The name itself, without the brackets or quotes around it."""
    bracketed, quoted, plain = match.groups()
    if bracketed:
        return str(bracketed).replace("]]", "]")
    return str(quoted).replace('""', '"') if quoted else str(plain).strip()


def quoted_name(part: str, connection: BaseDatabaseWrapper) -> str:
    """One identifier in the engine's quotes, whatever characters it holds."""
    if connection.vendor == "microsoft":
        return "[" + part.replace("]", "]]") + "]"
    return '"' + part.replace('"', '""') + '"'


def quoted_table(name: str, connection: BaseDatabaseWrapper) -> str:
    """The whole name quoted; Django leaves a name that is quoted already as it is."""
    return ".".join(quoted_name(part, connection) for part in parse_table_name(name))
