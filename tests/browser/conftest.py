"""A real browser on the real pages: Debian's Chromium, driven by Playwright.

Whatever the browser complains about fails the test: errors on the console, which is where
violations of the Content-Security-Policy appear, errors of scripts, requests that fail, answers of
400 and above that the test does not expect.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

try:
    from playwright.sync_api import (
        Browser,
        ConsoleMessage,
        Page,
        Request,
        Response,
        sync_playwright,
    )
except ImportError as error:  # a platform for which Playwright has no package
    pytest.skip(f"Playwright cannot be loaded here: {error}", allow_module_level=True)

from apps.accounts.models import Role, User
from tests.factories import UserFactory

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# Where signing in leads: administrators to the dashboard, all others to the list.
LANDED = re.compile(r"/(po|admin-portal)/$")
PASSWORD = "a long and unusual one"
_ARGUMENTS = [
    "--no-sandbox",  # tests may run as root, which Chromium's sandbox refuses
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_WCAG = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}


@dataclass
class Screen:
    """One person's window, and what the browser complained about in it."""

    page: Page
    address: str
    expected: set[int] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def open(self, path: str) -> None:
        self.page.goto(f"{self.address}{path}")

    def sign_in(self, user: User, password: str = PASSWORD) -> None:
        """By keyboard, as the page invites to: the name has the focus."""
        self.page.locator("[name=username]:focus").wait_for()  # a little later than the page itself
        self.page.keyboard.type(user.username)
        self.page.keyboard.press("Tab")
        self.page.keyboard.type(password)
        self.page.keyboard.press("Enter")

    def path(self) -> str:
        return self.page.url.removeprefix(self.address)

    def barriers(self) -> list[str]:
        """What keeps people from using the page as it is now, by WCAG 2.1 A and AA."""
        found = Axe().run(self.page, options=_WCAG).response["violations"]
        return [f"{v['id']}: {v['help']}: {[n['html'] for n in v['nodes']]}" for v in found]

    def _heard(self, message: ConsoleMessage) -> None:
        # An answer that the test expects is on the console as well.
        expected = any(
            words in message.text
            for status in self.expected
            # As Chromium says it, and as htmx does.
            for words in (f"status of {status}", f"Status Error Code {status}")
        )
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(f"console: {message.text}")

    def _failed(self, request: Request) -> None:
        if request.failure == "net::ERR_ABORTED":
            return  # the page was left before it had loaded all; what is blocked has other names
        self.complaints.append(f"request: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.complaints.append(f"answer: {response.status} {response.url}")


@pytest.fixture(scope="session")
def chromium(live_server: Any) -> Iterator[Browser]:
    # Asks for the server, so that it is closed before the server is.
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    with sync_playwright() as playwright, pytest.MonkeyPatch.context() as patch:
        # Playwright's loop runs in this thread, and Django would refuse the database there.
        patch.setitem(os.environ, "DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        browser.close()
        _wait_until_it_has_hung_up()


def _wait_until_it_has_hung_up() -> None:
    """Each of the server's threads closes its connection to the database when the browser has gone.

    SQLite's is the one of the tests, which other threads may touch only while the server runs.
    """
    for thread in threading.enumerate():
        if "process_request_thread" in thread.name:
            thread.join(timeout=10)


@pytest.fixture
def screen(chromium: Browser, live_server: Any) -> Iterator[Screen]:
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, locale="en-US")
    context.set_default_timeout(10_000)
    screen = Screen(context.new_page(), live_server.url)
    screen.watch()
    yield screen
    context.close()
    _wait_until_it_has_hung_up()  # else it reads from tables that are emptied meanwhile
    assert screen.complaints == []


def make_user(role: Role | str = Role.PLANNER, **fields: Any) -> User:
    user = UserFactory.create(role=role, **fields)
    user.set_password(PASSWORD)
    user.save()
    return user
