"""What can go wrong in a run: every failure says what happened and what to do next.

Messages may quote drivers and servers, and go on to consoles, reports, logs and audit events; so
secrets are taken out here, where every message passes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from apps.core.redaction import redacted


@dataclass(frozen=True)
class Notice:
    """An error or a warning of a stage, as the report shows it."""

    stage: str
    message: str
    remedy: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", redacted(self.message))

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class IngestionError(Exception):
    """A run cannot go on. `message` tells what happened, `remedy` what to do next."""

    def __init__(self, message: str, remedy: str) -> None:
        self.message = redacted(message)
        super().__init__(self.message)
        self.remedy = remedy


class UsageError(IngestionError):
    """The command was called in a way that makes no sense now: exit code 2, no run."""


class RunActiveError(IngestionError):
    """Another run is active: exit code 4, no run."""


class RefusedError(IngestionError):
    """The guard refuses what was read (rules.md "Guard")."""


class LeaseLostError(IngestionError):
    """Somebody else took the lease over while this run was working."""


class StoppedError(IngestionError):
    """The process was asked to end (SIGTERM, Ctrl+C)."""


class ErpError(IngestionError):
    """The ERP cannot be read and trying again would not help."""


class TransientErpError(ErpError):
    """The ERP cannot be read now; trying again may help."""
