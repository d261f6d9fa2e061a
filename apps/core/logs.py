"""Log files: rotating, one JSON object per line, each with the id of the act it belongs to."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from logging.handlers import RotatingFileHandler
from pathlib import Path

from pythonjsonlogger.json import JsonFormatter

__all__ = ["CorrelationFilter", "JsonFormatter", "RotatingFile", "correlation"]

_correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")


@contextmanager
def correlation(identifier: str) -> Iterator[None]:
    """Every log line written inside carries this id (of a run or of a request)."""
    token = _correlation_id.set(identifier)
    try:
        yield
    finally:
        _correlation_id.reset(token)


class CorrelationFilter(logging.Filter):
    """Puts the current id on each record."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.correlation_id = _correlation_id.get()
        return True


class RotatingFile(RotatingFileHandler):
    """Ten files of 5 MB; the file and its folder are made with the first line, not at start-up."""

    def __init__(self, filename: str) -> None:
        super().__init__(filename, maxBytes=5_000_000, backupCount=10, encoding="utf-8", delay=True)

    def _open(self):  # type: ignore[no-untyped-def]  # the base class has no annotation either
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()
