"""The log files: no line is lost while they rotate, nothing in them is secret, and a file that
cannot be written stops nobody."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from apps.core import logs
from apps.core.logs import CorrelationFilter, JsonFormatter, RotatingFile, correlation

_LINE = "x" * 99


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_MAX_BYTES", 1_000)
    monkeypatch.setattr(logs, "_FILES_KEPT", 3)


@pytest.fixture
def handlers(tmp_path: Path) -> Iterator[list[RotatingFile]]:
    """Two that write one file, as two processes do."""
    both = [RotatingFile(str(tmp_path / "log" / "a.log")) for _ in range(2)]
    yield both
    for handler in both:
        handler.close()


def _record(message: str = _LINE, **fields: Any) -> logging.LogRecord:
    return logging.makeLogRecord({"msg": message, "levelno": logging.INFO, **fields})


def _files(handler: RotatingFile) -> list[Path]:
    return sorted(Path(handler.baseFilename).parent.iterdir())


def _lines(handler: RotatingFile) -> list[str]:
    return [line for file in _files(handler) for line in file.read_text("utf-8").splitlines()]


def _refuse_renaming(monkeypatch: pytest.MonkeyPatch) -> None:
    def rename(source: object, target: object) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr(os, "rename", rename)


def test_a_full_file_is_put_aside_and_only_so_many_are_kept(handlers: list[RotatingFile]) -> None:
    for _ in range(100):
        handlers[0].emit(_record())
    files = _files(handlers[0])
    assert len(files) == 1 + 3
    assert files[0].name == "a.log"
    assert all(file.stat().st_size <= 1_100 for file in files)


def test_a_file_of_somebody_else_beside_the_log_is_left_alone(
    handlers: list[RotatingFile],
) -> None:
    handlers[0].emit(_record())
    other = Path(f"{handlers[0].baseFilename}.2025-old.zip")
    other.touch()
    for _ in range(100):
        handlers[0].emit(_record())
    assert other.exists()


def test_where_the_file_cannot_be_renamed_no_line_is_lost(
    handlers: list[RotatingFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as windows:
        _refuse_renaming(windows)
        for number in range(50):
            handlers[0].emit(_record(f"{number} {_LINE}"))
    assert [file.name for file in _files(handlers[0])] == ["a.log"]
    assert [line.split()[0] for line in _lines(handlers[0])] == [str(n) for n in range(50)]


def test_renaming_is_tried_again_after_a_minute_and_not_before(
    handlers: list[RotatingFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(logs, "monotonic", lambda: now)
    with monkeypatch.context() as windows:
        _refuse_renaming(windows)
        for _ in range(11):
            handlers[0].emit(_record())
    handlers[0].emit(_record())
    assert len(_files(handlers[0])) == 1
    now += 61
    handlers[0].emit(_record())
    assert len(_files(handlers[0])) == 2
    assert len(_lines(handlers[0])) == 13


@pytest.mark.skipif(sys.platform == "win32", reason="Windows renames no file that is open")
def test_a_process_follows_when_another_has_put_the_file_aside(
    handlers: list[RotatingFile],
) -> None:
    for number in range(30):
        handlers[number % 2].emit(_record(f"{number} {_LINE}"))
    lines = sorted(int(line.split()[0]) for line in _lines(handlers[0]))
    assert lines == list(range(30))
    # Neither goes on writing into what the other has put aside.
    assert all(file.stat().st_size <= 1_200 for file in _files(handlers[0]))


def test_a_folder_that_cannot_be_made_is_told_once_and_stops_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    handler = RotatingFile(str(tmp_path / "file" / "a.log"))
    for _ in range(3):
        handler.emit(_record("PWD=hunter2"))
    handler.close()
    told = capsys.readouterr().err
    assert told.count("cannot be written") == 1
    assert "correct LOG_DIR" in told
    assert "hunter2" not in told


def test_without_standard_error_a_lost_log_stops_nobody_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "stderr", None)  # as in a service on Windows
    RotatingFile(str(tmp_path / "file" / "a.log")).emit(_record())


def test_half_a_character_costs_no_line(
    handlers: list[RotatingFile], capsys: pytest.CaptureFixture[str]
) -> None:
    handlers[0].setFormatter(JsonFormatter("%(message)s", json_ensure_ascii=False))
    handlers[0].emit(_record("the file %s", args=("caf\udce9",)))
    (line,) = _lines(handlers[0])
    assert json.loads(line)["message"] == "the file caf\udce9"
    assert capsys.readouterr().err == ""


def test_a_line_that_cannot_be_put_together_is_told_without_its_arguments(
    handlers: list[RotatingFile], capsys: pytest.CaptureFixture[str]
) -> None:
    handlers[0].emit(_record("signed in: %s", args=("po", "hunter2"), pathname="x.py", lineno=7))
    told = capsys.readouterr().err
    assert "x.py, line 7" in told
    assert "TypeError" in told
    assert "hunter2" not in told


def _formatted(record: logging.LogRecord) -> dict[str, Any]:
    CorrelationFilter().filter(record)
    written: dict[str, Any] = json.loads(
        JsonFormatter("%(levelname)s %(correlation_id)s %(message)s").format(record)
    )
    return written


def test_each_line_has_the_id_of_the_act_it_was_written_in() -> None:
    with correlation("of the run"):
        assert _formatted(_record())["correlation_id"] == "of the run"
    assert _formatted(_record())["correlation_id"] == ""


def test_message_arguments_traceback_and_fields_hold_no_password() -> None:
    try:
        raise ValueError("cannot connect with PWD=hunter2;")
    except ValueError as error:
        record = _record(
            "address %s",
            args=("postgres://po:hunter2@host/po",),
            exc_info=sys.exc_info(),
            report={"errors": [{"message": "password=hunter2"}], "lines": 5},
            trouble=error,
        )
    written = _formatted(record)
    assert "hunter2" not in json.dumps(written)
    assert written["message"] == "address postgres://po:***@host/po"
    assert "Traceback" in written["exc_info"]
    assert written["report"]["lines"] == 5


@dataclass(frozen=True)
class _Login:
    user: str
    password: str
    note: str
    hidden: str = field(default="hunter2", repr=False)


class _Address(NamedTuple):
    host: str
    access_token: str


class _Mute:
    def __str__(self) -> str:
        raise ValueError("hunter2")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"PWD=hunter2", "b", "a"}, ["PWD=***", "a", "b"]),
        (frozenset({2, 10}), [10, 2]),
        (_Login("po", "hunter2", "PWD=hunter2"),
         {"user": "po", "password": "***", "note": "PWD=***"}),
        (_Address("h", "hunter2"), {"host": "h", "access_token": "***"}),
        ({"PWD=hunter2": 1, 7: 2, None: 3}, {"PWD=***": 1, "7": 2, "None": 3}),
        ({"erp": {"PASSWORD": "hunter2", "PORT": 1}}, {"erp": {"PASSWORD": "***", "PORT": 1}}),
        ({"secret": ["hunter2"], "token": None}, {"secret": "***", "token": None}),
        ({1: "PWD=hunter2"}.values(), ["PWD=***"]),
        (b"PWD=hunter2;\xff", "PWD=***;\\xff"),
        (Path("PWD=hunter2"), "PWD=***"),
        ([Decimal("0.100"), float("nan"), 1.5, True], ["0.100", "nan", 1.5, True]),
        (datetime(2026, 3, 2, 8, tzinfo=UTC), "2026-03-02T08:00:00+00:00"),
        (_Mute(), "(_Mute that cannot be shown)"),
    ],
)  # fmt: skip
def test_a_field_of_any_kind_is_written_without_secrets(value: Any, written: Any) -> None:
    assert _formatted(_record(given=value))["given"] == written


def test_a_field_whose_name_is_that_of_a_secret_is_not_shown() -> None:
    written = _formatted(_record(api_key="hunter2", token=12345, old_password=None))
    assert (written["api_key"], written["token"]) == ("***", "***")
    assert written["old_password"] is None


def test_a_field_that_contains_itself_does_not_lose_the_line() -> None:
    endless: dict[str, Any] = {"a": 1}
    endless["b"] = endless
    assert _formatted(_record(given=endless))["given"]["a"] == 1


def test_a_text_that_is_too_long_is_cut_in_its_middle_and_says_so() -> None:
    written = _formatted(_record("a" * 5_000 + "b" * 5_000, given=["c" * 5_000]))["message"]
    assert written == "a" * 1_000 + " ... (8,000 characters cut) ... " + "b" * 1_000


def test_a_secret_at_the_place_of_the_cut_is_hidden_all_the_same() -> None:
    text = "a" * 990 + " PWD={hunter2hunter2} " + "b" * 2_000
    assert "hunter" not in _formatted(_record(text, given={text: text}))["message"]


def test_a_traceback_keeps_its_beginning_and_its_end_however_long_the_error_is() -> None:
    def deeper(level: int) -> None:
        if level == 0:
            raise ValueError("x" * 100_000 + "the end")
        try:
            deeper(level - 1)
        except (ValueError, KeyError) as error:
            raise KeyError(level) from error

    try:
        deeper(100)
    except KeyError:
        told = _formatted(_record(exc_info=sys.exc_info()))["exc_info"]
    assert told.startswith("Traceback (most recent call last):")
    assert "characters cut" in told
    assert told.endswith("KeyError: 100")
    assert len(told) < 20_000


def test_a_text_of_many_lines_is_kept_whole_where_each_is_short() -> None:
    told = "\n".join(f"- problem {number}: the column is not there" for number in range(200))
    assert _formatted(_record(told))["message"] == told
