"""How long the pages take with ten people at once, on the real server.

    python benchmarks/web.py --lines 5000 1000000

For each number of lines: builds an ERP, runs the baseline and a night of the real command, starts
`manage.py serve` as in production, and lets ten people (one in two an expeditor with ten of the
thirty suppliers) look at the list for a while: presets, filters, sorting, pages, lines with all
their sections. Each waits about a second between two clicks; --pause 0 leaves no pause at all.
Prints the median and the 95th percentile per kind of click, and how many answers were wrong.
Times are those of the one who waits, over the network of this machine.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import http.client
import json
import os
import platform
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from random import Random
from statistics import quantiles
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # started as a script, Python looks beside this file only

from benchmarks.erp_data import SUPPLIERS, SqliteErp  # noqa: E402  # needs the path above
from benchmarks.ingestion import BenchmarkError, Product  # noqa: E402  # needs the path above

PEOPLE = 10
PASSWORD = "a benchmark's own"  # noqa: S105  # of a database that is thrown away
_STARTS_WITHIN = 60  # seconds
_ANSWERS_WITHIN = 60

# Goals in milliseconds (95th percentile), by number of lines: of every click, and of those that
# search in texts.
GOALS = {5_000: (150, 150), 1_000_000: (500, 3_000)}
_TEXT = "search"


@dataclass
class Times:
    """How long each click took, by kind, and what was answered that should not have been."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, seconds: float) -> None:
        self.seconds[kind].append(seconds)


class Visitor:
    """One person with a browser of their own."""

    def __init__(self, port: int, name: str, times: Times) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ANSWERS_WITHIN)
        self.times = times
        self.cookies: dict[str, str] = {}
        self.random = Random(name)  # the same clicks each time
        self.lines: list[str] = []
        self._sign_in(name)

    def _sign_in(self, name: str) -> None:
        _status, page = self._ask("GET", "/sign-in/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        if token is None:
            raise BenchmarkError("The page for signing in has no form.")
        form = {"username": name, "password": PASSWORD, "csrfmiddlewaretoken": token[1]}
        status, _page = self._ask("POST", "/sign-in/", urlencode(form))
        if status != 302:
            raise BenchmarkError(f"{name} could not sign in: {status}.")

    def _ask(self, method: str, path: str, body: str = "", *, part: str = "") -> tuple[int, str]:
        headers = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items())}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if part:
            headers |= {"HX-Request": "true", "HX-Target": part}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        page = answer.read().decode()
        for value in answer.headers.get_all("Set-Cookie", []):
            self.cookies |= {k: morsel.value for k, morsel in SimpleCookie(value).items()}
        return answer.status, page

    def click(self, kind: str, path: str, *, part: str = "") -> str:
        """Asks, and measures until the whole answer is there."""
        started = time.perf_counter()
        status, page = self._ask("GET", path, part=part)
        self.times.add(kind, time.perf_counter() - started)
        if status != 200:
            self.times.wrong.append(f"{status} {path}")
        return page

    def click_something(self) -> None:
        """As people do: mostly the list, now and then a line."""
        kind, make = self.random.choice(_CLICKS)
        make(self, kind)

    def list_part(self, kind: str, **params: str) -> None:
        query = urlencode({"preset": "all"} | params)
        page = self.click(kind, f"/po/?{query}", part="rows")
        self.lines = re.findall(r'data-opens-panel="(/po/\d+/)"', page) or self.lines


def _first_page(visitor: Visitor, kind: str) -> None:
    visitor.lines = re.findall(r'data-opens-panel="(/po/\d+/)"', visitor.click(kind, "/po/"))


def _preset(visitor: Visitor, kind: str) -> None:
    preset = visitor.random.choice(["late", "at_risk", "no_response", "updated", "all"])
    visitor.list_part(kind, preset=preset)


def _sort(visitor: Visitor, kind: str) -> None:
    column = visitor.random.choice(["expected_date", "po_number"])  # those with an index
    visitor.list_part(kind, sort=visitor.random.choice(["", "-"]) + column)


def _page(visitor: Visitor, kind: str) -> None:
    visitor.list_part(kind, page=str(visitor.random.randint(2, 20)))


def _filter(visitor: Visitor, kind: str) -> None:
    supplier = f"V{visitor.random.randrange(SUPPLIERS):04d}"
    visitor.list_part(
        kind,
        **visitor.random.choice(
            [
                {"supplier": supplier},
                {"status": "in_production", "preset": "late"},
                {"promised_date_from": "2025-01-10", "promised_date_to": "2025-02-10"},
            ]
        ),
    )


def _search(visitor: Visitor, kind: str) -> None:
    number = visitor.random.randint(0, 9_999)
    column = visitor.random.choice(["po_number", "sku", "item"])
    visitor.list_part(kind, **{column: f"{number:04d}"})


def _line(visitor: Visitor, kind: str) -> None:
    """The panel, and its sections as the page asks for them."""
    if not visitor.lines:
        _first_page(visitor, "first page")
    if visitor.lines:
        page = visitor.click(kind, visitor.random.choice(visitor.lines), part="panel")
        for section in dict.fromkeys(re.findall(r'hx-get="(/po/\d+/[a-z-]+/)[^"]*"', page)):
            visitor.click("section of a line", section, part="section")


_CLICKS = [
    ("first page", _first_page),
    ("preset", _preset),
    ("preset", _preset),
    ("sort", _sort),
    ("sort", _sort),
    ("page", _page),
    ("filter", _filter),
    ("filter", _filter),
    (_TEXT, _search),
    ("line", _line),
    ("line", _line),
]


# --- the server and its people --------------------------------------------------------------------


def _password_hash() -> str:
    """As Django stores it, after one round only: signing in is not what is measured."""
    salt = "benchmark"
    digest = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), salt.encode(), 1)
    return f"pbkdf2_sha256$1${salt}${base64.b64encode(digest).decode()}"


def _people(count: int, suppliers: list[int]) -> list[dict[str, object]]:
    """A fixture: every second an expeditor with a third of the suppliers, the others planners."""
    return [
        {
            "model": "accounts.user",
            "fields": {
                "username": f"person-{number}",
                "password": _password_hash(),
                "role": "expeditor" if number % 2 else "planner",
                "suppliers": suppliers[number % 3 :: 3] if number % 2 else [],
            },
        }
        for number in range(count)
    ]


class Site:
    """The application with its data, in an empty folder."""

    def __init__(self, folder: Path, lines: int, people: int, console: Console) -> None:
        self.folder, self.people = folder, people
        erp = SqliteErp(folder / "erp.sqlite3", lines)
        own = folder / "own"
        own.mkdir()
        database = f"sqlite:///{(folder / 'own.sqlite3').as_posix()}"
        with console.status(f"{lines:,} lines: preparing the application"):
            self.product = Product(own, "sqlite", lines, database=database, erp=erp.url)
        with console.status(f"{lines:,} lines: a baseline and a night"):
            erp.create()
            self.product.run()
            erp.live_through(1, 0.03)
            self.product.run()
        fixture = folder / "people.json"
        with closing(sqlite3.connect(folder / "own.sqlite3")) as own_data:
            suppliers = [key for (key,) in own_data.execute("SELECT id FROM po_supplier")]
        fixture.write_text(json.dumps(_people(people, suppliers)), encoding="utf-8")
        self.product.manage("loaddata", str(fixture), "--verbosity", "0")
        self.product.environment["STATIC_ROOT"] = str(folder / "static")
        self.product.manage("collectstatic", "--no-input", "--verbosity", "0")

    @contextmanager
    def served(self) -> Iterator[int]:
        """Gives the port."""
        environment = {
            **self.product.environment,
            "WEB_LISTEN": "127.0.0.1:0",
            "SECURE_SSL_REDIRECT": "false",  # nobody with a certificate stands in front
        }
        with (self.folder / "serve.log").open("w+", encoding="utf-8") as log:
            command = [sys.executable, str(ROOT / "manage.py"), "serve"]
            server = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                yield _port(self.folder / "serve.log", server)
            finally:
                server.terminate()
                server.wait(timeout=30)


def _port(log: Path, server: subprocess.Popen[bytes]) -> int:
    """Waits until the server says where it listens."""
    end = time.monotonic() + _STARTS_WITHIN
    while time.monotonic() < end and server.poll() is None:
        if said := re.search(r"listens on http://[^:]+:(\d+)", log.read_text(encoding="utf-8")):
            return int(said[1])
        time.sleep(0.05)
    raise BenchmarkError(f"The server did not start:\n{log.read_text(encoding='utf-8')}")


def _visit(visitor: Visitor, until: float, pause: float) -> None:
    while time.monotonic() < until:
        try:
            visitor.click_something()
        except (OSError, http.client.HTTPException) as error:
            visitor.times.wrong.append(f"no answer: {error!r}")
            visitor.connection.close()
        time.sleep(pause * (0.5 + visitor.random.random()))


def measured(site: Site, *, seconds: float, pause: float) -> Times:
    """What ten people at once wait for, for so long, after a warm-up that is not counted."""
    with site.served() as port:
        warm = Times()
        visitors = [Visitor(port, f"person-{number}", warm) for number in range(site.people)]
        for visitor in visitors:
            _first_page(visitor, "first page")  # every thread of the server has worked once
        for visitor in visitors[:2]:
            for kind, make in _CLICKS:
                make(visitor, kind)
        times = Times(wrong=warm.wrong)
        until = time.monotonic() + seconds
        threads = []
        for visitor in visitors:
            visitor.times = times
            threads.append(threading.Thread(target=_visit, args=(visitor, until, pause)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for visitor in visitors:
            visitor.connection.close()
    return times


# --- the result -----------------------------------------------------------------------------------


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile, in milliseconds."""
    if len(seconds) < 2:
        return seconds[0] * 1000, seconds[0] * 1000
    cuts = quantiles(seconds, n=20, method="inclusive")
    return cuts[9] * 1000, cuts[18] * 1000


def missed_goals(lines: int, times: Times) -> list[str]:
    """Each goal for this number of lines that was missed, in words."""
    missed = [f"{lines:,} lines: {wrong}" for wrong in times.wrong[:5]]
    if lines not in GOALS:
        return missed
    every, text = GOALS[lines]
    for kind, seconds in times.seconds.items():
        goal = text if kind == _TEXT else every
        if (late := percentiles(seconds)[1]) >= goal:
            missed.append(f"{lines:,} lines, {kind}: p95 {late:.0f} ms, goal under {goal} ms")
    return missed


def table(lines: int, people: int, times: Times, pause: float) -> Table:
    out = Table(title=f"Pages, {lines:,} lines, {people} at once, {pause:g} s between clicks")
    for number, header in enumerate(["click", "times", "p50 ms", "p95 ms"]):
        out.add_column(header, justify="right" if number else "left")
    every = [each for some in times.seconds.values() for each in some]
    for kind, seconds in [*sorted(times.seconds.items()), ("all", every)]:
        half, late = percentiles(seconds)
        out.add_row(kind, str(len(seconds)), f"{half:.0f}", f"{late:.0f}")
    out.caption = f"{len(times.wrong)} wrong answers"
    return out


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the pages with ten people at once.")
    parser.add_argument("--lines", type=int, nargs="+", required=True, metavar="N")
    parser.add_argument("--people", type=int, default=PEOPLE, help="at once (10)")
    parser.add_argument("--seconds", type=float, default=30, help="of clicking (30)")
    parser.add_argument("--pause", type=float, default=1, help="seconds between two clicks (1)")
    parser.add_argument(
        "--check", action="store_true", help="exit 1 if a goal is missed or an answer is wrong"
    )
    options = parser.parse_args(arguments)
    if min(*options.lines, options.people) < 1 or options.seconds <= 0 or options.pause < 0:
        parser.error("--lines, --people and --seconds are above 0, --pause is 0 or more")
    return options


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code: 0, or 1 if it failed or, with --check, a goal was missed."""
    options = _parse(arguments)
    console = Console()
    missed: list[str] = []
    try:
        for lines in options.lines:
            with TemporaryDirectory(prefix="po-web-", ignore_cleanup_errors=True) as name:
                site = Site(Path(name), lines, options.people, console)
                with console.status(f"{lines:,} lines: people click for {options.seconds:g} s"):
                    times = measured(site, seconds=options.seconds, pause=options.pause)
            console.print(table(lines, options.people, times, options.pause))
            missed += missed_goals(lines, times)
    except BenchmarkError as error:
        console.print(str(error), markup=False, style="red")
        return 1
    console.print(
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs, {platform.platform()}",
        highlight=False,
    )
    for goal in missed:
        console.print(f"Missed: {goal}", style="red", highlight=False)
    return 1 if options.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
