"""Whoever asks something that hangs gets no answer, and does not hang."""

from __future__ import annotations

import threading
import time

from apps.operations.waiting import Patience


def test_an_answer_that_comes_in_time_is_given() -> None:
    assert Patience(lambda: 42, name="test").answer(within=10) == 42


def test_what_hangs_is_waited_for_once_and_asked_again_when_it_has_answered() -> None:
    hangs = threading.Event()
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        hangs.wait(10)
        return len(asked)

    patience = Patience(ask, name="test_waiting")
    started = time.monotonic()
    assert patience.answer(within=0.1) is None
    assert patience.answer(within=0.1) is None  # its thread still waits, and is not asked twice
    assert time.monotonic() - started < 5
    assert len(asked) == 1
    hangs.set()
    while "test_waiting" in [thread.name for thread in threading.enumerate()]:
        assert time.monotonic() - started < 10
        time.sleep(0.01)
    assert patience.answer(within=10) == 2
