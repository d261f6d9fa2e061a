"""Asking something that may hang, without hanging with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

from django.db import Error as AnyDatabaseError
from django.db import connections

Answer = TypeVar("Answer")

# A question may hang for hours, where the network swallows what is sent; the server may be back
# long before, and only a new connection finds out.
GIVEN_UP_AFTER_SECONDS = 60.0


class Patience(Generic[Answer]):
    """Asks in a thread of its own and waits so many seconds for the answer.

    Who asks while a question is on its way waits for the same answer: asking every few seconds
    would pile questions up behind a server that hangs.
    """

    def __init__(self, ask: Callable[[], Answer], *, name: str) -> None:
        self._ask = ask
        self._name = name
        self._guard = threading.Lock()
        self._running: _Question[Answer] | None = None

    def answer(self, *, within: float) -> Answer | None:
        """The answer, or None if there is none in time. `ask` must deal with its own errors."""
        with self._guard:
            question = self._running
            if question is None or question.is_given_up:
                question = self._running = _Question()
                thread = threading.Thread(
                    target=self._put, args=(question,), name=self._name, daemon=True
                )
                thread.start()
        question.answered.wait(within)
        return question.answer

    def _put(self, question: _Question[Answer]) -> None:
        """In a thread of its own, which may hang as long as the server does."""
        try:
            question.answer = self._ask()
        finally:
            question.answered.set()
            try:
                # This thread's own. A link that is lost cannot be closed, and need not be.
                with suppress(AnyDatabaseError):
                    connections.close_all()
            finally:
                with self._guard:
                    if self._running is question:
                        self._running = None


class _Question(Generic[Answer]):
    """One question, whose answer all share who ask meanwhile."""

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.answered = threading.Event()
        self._began = time.monotonic()

    @property
    def is_given_up(self) -> bool:
        return time.monotonic() - self._began > GIVEN_UP_AFTER_SECONDS
