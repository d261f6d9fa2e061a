"""Log files: rotating, one JSON object per line, each with the id of the act it belongs to."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pythonjsonlogger.json import JsonFormatter as PlainJsonFormatter

from apps.core.redaction import redactor

__all__ = ["CorrelationFilter", "JsonFormatter", "RotatingFile", "correlation"]

_correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")

_MAX_BYTES = 5_000_000
_FILES_KEPT = 10
_SECONDS_BETWEEN_ATTEMPTS = 60
_PUT_ASIDE = re.compile(r"\.\d{8}-\d{6}-\d{6}")


@contextmanager
def correlation(identifier: str) -> Iterator[None]:
    """Every log line written inside carries this id (of a run or of a request)."""
    token = _correlation_id.set(identifier)
    try:
        yield
    finally:
        _correlation_id.reset(token)


class CorrelationFilter(logging.Filter):
    """Puts the current id on each record.

    Django tells about some responses after the middlewares have ended; their request knows its id.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        request = getattr(record, "request", None)
        of_request = str(getattr(request, "correlation_id", ""))
        record.correlation_id = _correlation_id.get() or of_request
        return True


class JsonFormatter(PlainJsonFormatter):
    """One JSON object per record, without secrets in message, traceback or any other field."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # Django adds the request, which would be written with its whole query.
        log_data.pop("request", None)
        clean = redactor()  # once: a report has thousands of texts
        return {key: _cleaned(value, clean) for key, value in log_data.items()}


def _cleaned(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, BaseException):
        return clean(f"{type(value).__name__}: {value}")
    if isinstance(value, dict):
        return {key: _cleaned(inner, clean) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(inner, clean) for inner in value]
    return value


class RotatingFile(logging.FileHandler):
    """Appends to a file. At 5 MB the file is put aside under the time of its end, and ten of those
    are kept. File and folder are made with the first line, not at start-up.

    Several processes may write one file. Windows renames no file that another process has open:
    then it grows on, and is put aside a minute later or whenever it can be. Elsewhere another
    process may have put it aside already: then this one goes on in the new file. No line is lost.
    """

    def __init__(self, filename: str) -> None:
        self.stream: Any  # None until the first line, and while it is put aside
        super().__init__(filename, encoding="utf-8", delay=True)
        self._not_before = 0.0
        self._has_complained = False

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._make_room()
            super().emit(record)
        except OSError:  # no right to write there, no room on the disk
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's own name
        """Whoever works goes on without a log, and says so once on standard error."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)  # a fault of ours, shown where it happened
        elif not self._has_complained and sys.stderr is not None:
            self._has_complained = True
            sys.stderr.write(
                f"The log file {self.baseFilename} cannot be written: "
                f"{error.strerror or type(error).__name__}. The work goes on without it. Give the "
                "account the right to write this folder, make room there, or correct LOG_DIR.\n"
            )

    def _open(self) -> Any:
        Path(self.baseFilename).parent.mkdir(parents=True, exist_ok=True)
        return super()._open()

    def _make_room(self) -> None:
        if self.stream is None:
            self.stream = self._open()
        elif not self._is_current():
            self._close_stream()
            self.stream = self._open()
        if os.fstat(self.stream.fileno()).st_size < _MAX_BYTES:
            return
        if time.monotonic() >= self._not_before:
            self._put_aside()

    def _is_current(self) -> bool:
        """Whether the open file still has its name; on Windows an open file keeps it."""
        if os.name == "nt":
            return True
        try:
            named = os.stat(self.baseFilename)  # noqa: PTH116  # what samestat takes
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(self.stream.fileno()), named)

    def _put_aside(self) -> None:
        self._close_stream()
        file = Path(self.baseFilename)
        try:
            # One rename, so that there is no half-done rotation; the new name is nobody else's.
            os.rename(file, f"{file}.{datetime.now(UTC):%Y%m%d-%H%M%S-%f}")  # noqa: PTH104  # tests break it
        except OSError:
            self._not_before = time.monotonic() + _SECONDS_BETWEEN_ATTEMPTS
            return
        aside = sorted(
            other
            for other in file.parent.glob(f"{file.name}.*")
            if _PUT_ASIDE.fullmatch(other.name.removeprefix(file.name))
        )
        for old in aside[:-_FILES_KEPT]:
            with suppress(OSError):  # open in somebody's editor; the next rotation tries again
                old.unlink()

    def _close_stream(self) -> None:
        stream, self.stream = self.stream, None
        if stream is not None:
            with suppress(OSError):  # a full disk; the next line opens the file anew
                stream.close()
