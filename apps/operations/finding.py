"""What a check of the doctor finds: fine, worth knowing, or to be cured."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line for the administrator; `remedy` is empty exactly where all is well."""

    status: Status
    message: str
    remedy: str = ""


def ok(message: str) -> Finding:
    """All is well."""
    return Finding(status=Status.OK, message=message)


def warning(message: str, remedy: str) -> Finding:
    """Works, but somebody should know."""
    return Finding(status=Status.WARNING, message=message, remedy=remedy)


def error(message: str, remedy: str) -> Finding:
    """Does not work, or will not work for long."""
    return Finding(status=Status.ERROR, message=message, remedy=remedy)
