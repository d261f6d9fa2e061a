"""What an engine hands back when it has written its data."""

from dataclasses import dataclass

from apps.operations.backups.content import Content


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The data of one backup, written and checked by the engine; the names are the manifest's."""

    data: str
    content: Content
    server: str
    bytes: int | None
    sha256: str | None
    data_is_on_server: bool = False
    rows_are_exact: bool = True
