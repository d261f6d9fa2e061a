"""Log files: rotating, one JSON object per line, each with the id of the act it belongs to."""

import logging
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Set, ValuesView
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import monotonic
from typing import Any

from pythonjsonlogger.json import JsonFormatter as PlainJsonFormatter

from apps.core.redaction import HIDDEN, names_a_secret, redactor

__all__ = ["CorrelationFilter", "JsonFormatter", "RotatingFile", "correlation", "shortened"]

_correlation_id: ContextVar[str] = ContextVar("correlation_id", default="")

_MAX_BYTES = 5_000_000
_FILES_KEPT = 10
_SECONDS_BETWEEN_ATTEMPTS = 60
# What strangers send, such as a path, may be long, and must not push out what others need.
_LONGEST_LINE = 2_000
_LONGEST_TEXT = 16_000
_DEEPEST = 10
_PUT_ASIDE = re.compile(r"\.\d{8}-\d{6}-\d{6}")


def shortened(text: str, length: int) -> str:
    """The text with its middle cut out if it is longer; the mark in its place adds to the length.

    The beginning says what it is, the end of a traceback or of an error what was wrong.
    """
    if len(text) <= length:
        return text
    half = length // 2
    return f"{text[:half]} ... ({len(text) - 2 * half:,} characters cut) ... {text[-half:]}"


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
    """One JSON object per record, without secrets in message, traceback or any other field.

    A value under a name such as "password" is not shown at all. What JSON does not know, such as a
    set or a dataclass, is written as the list, object or text that comes nearest.
    """

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # Django adds the request, which would be written with its whole query.
        log_data.pop("request", None)
        # One redactor for all of it: a report has thousands of texts.
        cleaned: dict[str, Any] = _cleaned(log_data, redactor())
        return cleaned


def _cleaned(value: Any, clean: Callable[[str], str], depth: int = 0) -> Any:
    """The value as JSON can have it, without secrets."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):  # JSON has no others
        return value
    if depth > _DEEPEST:  # or it contains itself
        return "..."
    members = _members(value)
    if members is not None:
        return dict(_member(*member, clean, depth) for member in members.items())
    if isinstance(value, list | tuple | Set | ValuesView):
        parts = [_cleaned(inner, clean, depth + 1) for inner in value]
        return sorted(parts, key=repr) if isinstance(value, set | frozenset) else parts
    return _shown(value, clean)


def _member(name: Any, value: Any, clean: Callable[[str], str], depth: int) -> tuple[str, Any]:
    told = _shown(name, clean)
    # That there is no password is no secret, and worth knowing.
    if value is not None and names_a_secret(told):
        return told, HIDDEN
    return told, _cleaned(value, clean, depth + 1)


def _members(value: Any) -> Mapping[Any, Any] | None:
    """What a value with named parts consists of; None if it has none."""
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        # A field that its class keeps out of its repr has a reason not to be shown.
        return {part.name: getattr(value, part.name) for part in fields(value) if part.repr}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        named: dict[str, Any] = value._asdict()
        return named
    return None


def _shown(value: Any, clean: Callable[[str], str]) -> str:
    """As a text, cleaned first: half a secret at the place of a cut would not be found."""
    text = clean(_text(value))
    if len(text) <= _LONGEST_LINE:
        return text
    # Line by line, so that one that is endless does not cost a traceback the others.
    lines = (shortened(line, _LONGEST_LINE) for line in text.split("\n"))
    return shortened("\n".join(lines), _LONGEST_TEXT)


def _text(value: Any) -> str:
    try:
        if isinstance(value, bytes | bytearray | memoryview):
            return bytes(value).decode(errors="backslashreplace")
        if isinstance(value, date | time):
            return value.isoformat()
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        return str(value)
    except Exception:  # noqa: BLE001  # somebody else's __str__ may raise anything, and the line must be written
        return f"({type(value).__name__} that cannot be shown)"


class RotatingFile(logging.FileHandler):
    """Appends to a file. At 5 MB the file is put aside under the time of its end, and ten of those
    are kept. File and folder are made with the first line, not at start-up.

    Several processes may write one file. Windows renames no file that another process has open:
    then it grows on, and is put aside a minute later or whenever it can be. Elsewhere another
    process may have put it aside already: then this one goes on in the new file. No line is lost.
    """

    def __init__(self, filename: str) -> None:
        self.stream: Any  # None until the first line, and while it is put aside
        # Half a character, as in a file name that is not UTF-8, has no bytes of its own: it is
        # written as the JSON escape that means it.
        super().__init__(filename, encoding="utf-8", delay=True, errors="backslashreplace")
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
        if sys.stderr is None:
            return
        if not isinstance(error, OSError):
            # A fault of ours, shown where it happened; not with the arguments, as logging itself
            # would show it: nobody has taken the secrets out of them.
            sys.stderr.write(
                f"A line of {record.pathname}, line {record.lineno}, cannot be logged: "
                f"{type(error).__name__}\n"
                + "".join(traceback.format_tb(error.__traceback__ if error else None))
            )
        elif not self._has_complained:
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
        if monotonic() >= self._not_before:
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
            self._not_before = monotonic() + _SECONDS_BETWEEN_ATTEMPTS
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
