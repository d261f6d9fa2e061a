"""Asking something that may hang, without hanging with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import connections

Answer = TypeVar("Answer")


class Patience(Generic[Answer]):
    """Asks in a thread of its own and waits so many seconds for the answer.

    While a question is still waited for by its thread, no further one is asked: whoever asks every
    few seconds would pile them up.
    """

    def __init__(self, ask: Callable[[], Answer], *, name: str) -> None:
        self._ask = ask
        self._name = name
        self.asking = threading.Lock()

    def answer(self, *, within: float) -> Answer | None:
        """The answer, or None if there is none in time. `ask` must deal with its own errors."""
        if not self.asking.acquire(blocking=False):
            return None
        answers: list[Answer] = []

        def ask() -> None:
            try:
                answers.append(self._ask())
            finally:
                connections.close_all()  # this thread's own
                self.asking.release()

        thread = threading.Thread(target=ask, name=self._name, daemon=True)
        thread.start()
        thread.join(within)
        return answers[0] if answers else None
